"""Audits our verdicts with a second grader: where do we and plain math-verify disagree, and what do those answers say?

Disagreement is expected where a completion has several boxes, states another answer outside its box, or holds a number
too large to evaluate; anything else deserves a look.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.grading.pool.pool import ABORTED, GradingPool
from tasks.grading.registry import scorer_for
from tasks.grading.scorers import math_verify_baseline as plain
from tasks.grading.verdicts import GradeRequest, GradeStats, Verdict

_TAIL = 160


@dataclass(frozen=True)
class Disagreement:
    """One answer on which the graders differ.

    Attributes:
        row: position in the audited list, from 0.
        data_source: the problem set.
        gold: the gold answer.
        answer: what we extracted, or the end of the completion.
        ours: our status.
        second: the second grader's status, "given up" when it ran out of time or memory.
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
            "fast_share": self.stats.fast_share,
            "seconds": self.stats.seconds,
            "audited": self.audited,
            "disagreements": len(self.disagreements),
            "second_right": self.reference_stats.right,
            "second_timed_out": self.reference_stats.timed_out,
            "second_seconds": self.reference_stats.seconds,
        }


def audit(answers: Sequence[GradeRequest], pool: GradingPool) -> Audit:
    """Grades answers twice and compares. Answers that are not mathematics are graded once and not compared.

    Args:
        answers: what to grade.
        pool: does the grading, ours and the second one's, with its limits.

    Raises:
        InputError: a data source has no scorer.
    """
    verdicts = pool.grade(answers)
    stats = pool.last
    places = [place for place, each in enumerate(answers) if scorer_for(each.data_source).name in ("math", "number")]
    second = pool.grade([dataclasses.replace(answers[place], data_source=plain.DATA_SOURCE) for place in places])
    found = tuple(
        _disagreement(place, answers[place], verdicts[place], other)
        for place, other in zip(places, second, strict=True)
        if verdicts[place].correct != other.correct or other.reason in ABORTED
    )
    return Audit(stats, pool.last, len(places), found, tuple(verdicts))


def _disagreement(place: int, answer: GradeRequest, ours: Verdict, second: Verdict) -> Disagreement:
    shown = ours.extracted if ours.extracted is not None else answer.completion[-_TAIL:]
    status = "given up" if second.reason in ABORTED else second.status
    gold, shown = _printable(answer.ground_truth), _printable(shown)
    return Disagreement(place, answer.data_source, gold, shown, ours.status, status, ours.reason)


def _printable(text: str) -> str:
    """Returns the beginning of any text as one line that every terminal and file can take."""
    line = text[:_TAIL].encode("utf-8", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)
