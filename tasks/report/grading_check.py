"""Grading checked on this study's own answers: a seeded sample of them is graded again, by us and two others."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.grading import GradeRequest, GradingPool
from tasks.grading.audit import Audit, audit
from tasks.records.json_files import read_columns
from tasks.records.problems import read_problems
from tasks.report.inputs import RunLog
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.policies import benchmark_names, list_policies

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Strings = npt.NDArray[np.object_]

AUDITED = 600


@dataclass(frozen=True)
class GradingCheck:
    """What the report says about grading.

    Attributes:
        totals: counts over all training rollouts, by name as in the metrics rows.
        distinct: distinct (gold, answer) pairs among the final samples.
        audit: the graders' verdicts on a sample of these; None where there were no samples.
    """

    totals: dict[str, int]
    distinct: int = 0
    audit: Audit | None = None


@dataclass(frozen=True)
class SampleColumns:
    """Columns of samples.parquet that are audited, one entry per sample."""

    problem_id: Strings
    text: Strings
    status: Strings


def check_grading(params: Params, runs: list[RunLog]) -> GradingCheck:
    """Adds up the verdicts of training and audits some of the final samples, seeded by `params.evaluate.seed`."""
    totals: Counter[str] = Counter()
    for log in runs:
        for row in log.rows:
            totals.update(row.grading)
    answers = sampled_answers(params)
    if not answers:
        return GradingCheck(dict(totals))
    audited = draw(answers, AUDITED, params.evaluate.seed)
    limits = params.hardware
    with GradingPool(limits.grading_workers, limits.grading_seconds, limits.grading_memory_mb) as pool:
        return GradingCheck(dict(totals), len(answers), audit(audited, pool))


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
                samples = read_columns(path, SampleColumns)
                for name, text, status in zip(samples.problem_id, samples.text, samples.status, strict=True):
                    seen[problems[name].data_source, problems[name].answer, text] = status == "right"
    return {GradeRequest(source, text, gold): seen[source, gold, text] for source, gold, text in sorted(seen)}
