"""Evaluation sets: read whole, repaired and rendered like training problems, never subsampled or filtered."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.grading import GradingPool
from tasks.prepare.checks.gradability import ungradable_answers
from tasks.prepare.overlap.contamination import EvaluationEntry, EvaluationIndex
from tasks.prepare.overlap.minhash import minhash_signatures
from tasks.prepare.sources.rows import Row, RowRejected, read_row
from tasks.prepare.sources.source import Source
from tasks.prepare.splits.curriculum import curriculum
from tasks.records.problems import Problem
from tasks.study.errors import InputError
from tasks.study.params import Prepare


@dataclass(frozen=True)
class EvaluationSet:
    """A held-out set or benchmark.

    Attributes:
        name: `heldout`, or the benchmark's name.
        rows: its problems, ids unique.
        input: the source's label and facts, for the manifest.
    """

    name: str
    rows: tuple[Row, ...]
    input: dict[str, Any]

    @property
    def problems(self) -> list[Problem]:
        """What is written."""
        return [row.problem for row in self.rows]

    @property
    def entries(self) -> list[EvaluationEntry]:
        """What training problems are compared with."""
        return [EvaluationEntry(self.name, row.problem.problem_id, row.normalized) for row in self.rows]


def read_set(name: str, source: Source, spec: Prepare) -> EvaluationSet:
    """Reads an evaluation set.

    Raises:
        InputError: a row is not readable; an evaluation set is not repaired by leaving rows out.
    """
    rows: list[Row] = []
    for batch in source.open():
        for raw in batch:
            try:
                if raw is None:
                    raise RowRejected("schema", "the record is not a JSON object")
                rows.append(read_row(raw, spec, source.columns._replace(prefix=name)))
            except RowRejected as error:
                raise InputError(f"{source.label}: row {len(rows)} of evaluation set {name}: {error}") from None
    return EvaluationSet(name, tuple(_with_unique_ids(rows)), {"source": source.label, **source.facts})


def in_curriculum_order(rows: Sequence[Row], seed: int) -> list[Row]:
    """Orders held-out problems easiest first."""
    rates = np.asarray([np.nan if row.problem.pass_rate is None else row.problem.pass_rate for row in rows])
    levels = np.asarray([-1 if row.problem.level is None else row.problem.level for row in rows])
    return [rows[index] for index in curriculum(rates, levels, seed).tolist()]


def ungradable_ids(evaluation: EvaluationSet, pool: GradingPool) -> dict[str, str]:
    """Problems of a set whose perfect answer is not right, with the reason; they count against every model."""
    problems = evaluation.problems
    return {problems[index].problem_id: reason for index, reason in ungradable_answers(problems, pool).items()}


def shared_problems(sets: Sequence[EvaluationSet], spec: Prepare) -> dict[str, int]:
    """How many problems of one set are also (nearly) in another, by `set in other`; only pairs that share some."""
    counts: Counter[str] = Counter()
    texts = {evaluation.name: [row.normalized for row in evaluation.rows] for evaluation in sets}
    signatures = {name: minhash_signatures(own) for name, own in texts.items()}
    for other in sets:
        index = EvaluationIndex(other.entries, spec.cleaning.overlap_similarity, n=0)
        for name in texts.keys() - {other.name}:
            counts[f"{name} in {other.name}"] += sum(bool(hits) for hits in index.find(texts[name], signatures[name]))
    return {pair: count for pair, count in sorted(counts.items()) if count}


def _with_unique_ids(rows: Sequence[Row]) -> list[Row]:
    """Numbers problems that occur twice in a set, so that ids stay unique."""
    counts: Counter[str] = Counter()
    numbered = []
    for row in rows:
        problem_id = row.problem.problem_id
        counts[problem_id] += 1
        renamed = dataclasses.replace(row.problem, problem_id=f"{problem_id}-{counts[problem_id]}")
        numbered.append(row if counts[problem_id] == 1 else dataclasses.replace(row, problem=renamed))
    return numbered
