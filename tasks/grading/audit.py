"""Audits our verdicts with a reference grader: where do we and plain math-verify disagree, and what do the answers say?

Disagreement is expected where a completion has several boxes, states another answer outside its box, or holds a number
too large to evaluate; anything else deserves a look.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.grading.pool.pool import ABORTED, GradingPool
from tasks.grading.registry import scorer_for
from tasks.grading.scorers.math_verify_baseline import DATA_SOURCE
from tasks.grading.verdicts import GradeRequest, GradeStats, Verdict

_TAIL = 160


@dataclass(frozen=True)
class Disagreement:
    """One answer on which the graders differ.

    Attributes:
        row: position in the audited list, from 0.
        data_source: the problem set.
        gold: the ground truth.
        answer: what we extracted, or the end of the completion.
        ours: our status.
        second: the reference grader's status, "given up" when it ran out of time or memory.
        reason: our reason.
    """

    row: int
    data_source: str
    gold: str
    answer: str
    ours: str
    second: str
    reason: str


@dataclass(frozen=True)
class Audit:
    """What an audit found: both graders' counts and the answers on which they differ."""

    stats: GradeStats
    reference_stats: GradeStats
    audited: int
    disagreements: tuple[Disagreement, ...]
    verdicts: tuple[Verdict, ...]

    def rows(self) -> list[dict[str, object]]:
        """Returns the table of a report: one row per disagreement."""
        return [dataclasses.asdict(each) for each in self.disagreements]

    def summary(self) -> dict[str, object]:
        """Returns the counts of a report."""
        return {
            "graded": self.stats.graded,
            "right": self.stats.right,
            "unjudged": self.stats.unjudged,
            "timed_out": self.stats.timed_out,
            "fast_share": self.stats.fast_fraction,
            "seconds": self.stats.seconds,
            "audited": self.audited,
            "disagreements": len(self.disagreements),
            "second_right": self.reference_stats.right,
            "second_timed_out": self.reference_stats.timed_out,
            "second_seconds": self.reference_stats.seconds,
        }


def audit(requests: Sequence[GradeRequest], pool: GradingPool) -> Audit:
    """Grades answers twice and compares. Answers that are not mathematics are graded once and not compared.

    Args:
        requests: what to grade.
        pool: does the grading, ours and the reference's, with its limits.

    Raises:
        InputError: a data source has no scorer.
    """
    verdicts = pool.grade(requests)
    stats = pool.last_stats
    rows = [row for row, each in enumerate(requests) if scorer_for(each.data_source).name in ("math", "number")]
    reference = pool.grade([dataclasses.replace(requests[row], data_source=DATA_SOURCE) for row in rows])
    disagreements = tuple(
        _disagreement(row, requests[row], verdicts[row], other)
        for row, other in zip(rows, reference, strict=True)
        if verdicts[row].correct != other.correct or other.reason in ABORTED
    )
    return Audit(stats, pool.last_stats, len(rows), disagreements, tuple(verdicts))


def _disagreement(row: int, request: GradeRequest, ours: Verdict, reference: Verdict) -> Disagreement:
    answer = _printable(ours.extracted if ours.extracted is not None else request.completion[-_TAIL:])
    status = "given up" if reference.reason in ABORTED else reference.status
    ground_truth = _printable(request.ground_truth)
    return Disagreement(row, request.data_source, ground_truth, answer, ours.status, status, ours.reason)


def _printable(text: str) -> str:
    """Returns the beginning of any text as one line that every terminal and file can take."""
    line = text[:_TAIL].encode("utf-8", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)
