"""Grading checked on this study's own answers: a seeded draw of them is graded again, and by plain math-verify."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tasks.grading import GradeRequest, GradingPool
from tasks.grading.audit import audit
from tasks.records.problems import read_problems
from tasks.report.evidence import RunLog
from tasks.report.files import read_columns
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.policies import benchmark_names, list_policies

AUDITED = 600
SHOWN = 20


@dataclass(frozen=True)
class GradingCheck:
    """What the report says about grading.

    Attributes:
        totals: counts over all training rollouts, by name as in the metrics rows.
        distinct: distinct (gold, answer) pairs among the final samples.
        summary: counts of the audit; empty where there were no samples.
        disagreements: the first `SHOWN` answers on which the graders differ.
    """

    totals: dict[str, int]
    distinct: int = 0
    summary: dict[str, Any] = field(default_factory=dict)
    disagreements: list[dict[str, Any]] = field(default_factory=list)


def check_grading(params: Params, runs: list[RunLog]) -> GradingCheck:
    """Adds up the verdicts of training and audits a draw of the final samples, seeded by `params.evaluate.seed`."""
    totals: Counter[str] = Counter()
    for log in runs:
        for row in log.rows:
            totals.update(row.grading)
    answers = sampled_answers(params)
    if not answers:
        return GradingCheck(dict(totals))
    drawn = draw(answers, AUDITED, params.evaluate.seed)
    limits = params.hardware
    with GradingPool(limits.grading_workers, limits.grading_seconds, limits.grading_memory_mb) as pool:
        found = audit(drawn, pool)
    return GradingCheck(dict(totals), len(answers), found.summary(), found.rows()[:SHOWN])


def draw(answers: Mapping[GradeRequest, bool], number: int, seed: int) -> list[GradeRequest]:
    """Up to `number` answers, as many right ones as wrong ones while both last: most distinct answers are wrong."""
    generator = random.Random(seed)
    right, wrong = ([answer for answer, verdict in answers.items() if verdict is side] for side in (True, False))
    first = generator.sample(right, min(len(right), max(number // 2, number - len(wrong))))
    return first + generator.sample(wrong, min(len(wrong), number - len(first)))


def sampled_answers(params: Params) -> dict[GradeRequest, bool]:
    """Distinct answers of the final policies and whether they were called right, in a stable order.

    Samples that are not on this machine are left out.
    """
    layout, seen = StudyPaths.of(params), dict[tuple[str, str, str], bool]()
    policies = [policy for policy in list_policies(params) if policy.run is not None]
    for benchmark in benchmark_names(params):
        problems = {problem.problem_id: problem for problem in read_problems(layout.benchmark(benchmark))}
        for policy in policies:
            path = layout.samples(policy, benchmark)
            if path.is_file():
                columns = read_columns(path)
                rows = zip(*(columns[key].tolist() for key in ("problem_id", "text", "status")), strict=True)
                for name, text, status in rows:
                    seen[problems[name].data_source, problems[name].answer, text] = status == "right"
    return {GradeRequest(source, text, gold): seen[source, gold, text] for source, gold, text in sorted(seen)}
