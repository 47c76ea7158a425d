"""Audits our verdicts with two graders: plain math-verify, and a reader that shares no parser with it or with us.

math-verify shows what our rules around it changed: disagreement is expected where a completion has several boxes,
states another answer outside its box, or holds a number too large to evaluate. The independent reader shows what both
get wrong; it judges only what it reads whole, and its disagreements carry what it read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.grading.pool.pool import ABORTED, GradingPool
from tasks.grading.registry import scorer_for
from tasks.grading.scorers import independent_reader, math_verify_baseline
from tasks.grading.verdicts import GradeRequest, GradeStats, Verdict

_TAIL = 160


@dataclass(frozen=True)
class Disagreement:
    """One answer on which we and another grader differ about the final answer.

    Attributes:
        row: position in the audited list, from 0.
        data_source: the problem set.
        gold: the ground truth.
        answer: what we extracted, or the end of the completion.
        ours: our status.
        other: the other grader's status, "given up" when it ran out of time or memory.
        readings: what the independent reader read, "ANSWER against GOLD"; None for math-verify.
        reason: our reason.
    """

    row: int
    data_source: str
    gold: str
    answer: str
    ours: str
    other: str
    readings: str | None
    reason: str


@dataclass(frozen=True)
class Audit:
    """What an audit found: the counts of all three graders and the answers on which we differ from one of the two.

    `reader_verdicts` has an entry per audited answer; status "unjudged" means that the reader cannot tell.
    """

    stats: GradeStats
    reference_stats: GradeStats
    reader_stats: GradeStats
    audited: int
    disagreements: tuple[Disagreement, ...]
    reading_disagreements: tuple[Disagreement, ...]
    verdicts: tuple[Verdict, ...]
    reader_verdicts: tuple[Verdict, ...]

    def rows(self) -> list[dict[str, object]]:
        """Returns the table of a report: one row per disagreement with math-verify."""
        return [_row(each) for each in self.disagreements]

    def reading_rows(self) -> list[dict[str, object]]:
        """Returns the second table of a report: one row per disagreement with the independent reader."""
        return [_row(each) for each in self.reading_disagreements]

    @property
    def reader_judged(self) -> int:
        """Audited answers about which the independent reader could tell."""
        return sum(_can_tell(each) for each in self.reader_verdicts)

    def summary(self) -> dict[str, object]:
        """Returns the counts of a report."""
        return {
            "graded": self.stats.graded,
            "right_strict": self.stats.right,
            "right_lenient": self.stats.right_lenient,
            "unjudged": self.stats.unjudged,
            "timed_out": self.stats.timed_out,
            "fast_share": self.stats.fast_fraction,
            "seconds": self.stats.seconds,
            "audited": self.audited,
            "disagreements": len(self.disagreements),
            "second_right": self.reference_stats.right_lenient,
            "second_timed_out": self.reference_stats.timed_out,
            "second_seconds": self.reference_stats.seconds,
            "reader_judged": self.reader_judged,
            "reader_right": self.reader_stats.right_lenient,
            "reader_disagreements": len(self.reading_disagreements),
            "reader_seconds": self.reader_stats.seconds,
        }


def audit(requests: Sequence[GradeRequest], pool: GradingPool) -> Audit:
    """Grades answers three times and compares. Answers that are not mathematics are graded once and not compared.

    Args:
        requests: what to grade.
        pool: does all the grading, with its limits.

    Raises:
        InputError: a data source has no scorer.
    """
    verdicts = pool.grade(requests)
    stats = pool.last_stats
    rows = [row for row, each in enumerate(requests) if scorer_for(each.data_source).name in ("math", "number")]
    reference, reference_stats = _grade_as(math_verify_baseline.DATA_SOURCE, requests, rows, pool)
    readings, reader_stats = _grade_as(independent_reader.DATA_SOURCE, requests, rows, pool)
    disagreements = tuple(
        _disagreement(row, requests[row], verdicts[row], other)
        for row, other in zip(rows, reference, strict=True)
        if verdicts[row].correct != other.correct or other.reason in ABORTED
    )
    reading_disagreements = tuple(
        _disagreement(row, requests[row], verdicts[row], other, readings=_printable(other.reason, 2 * _TAIL))
        for row, other in zip(rows, readings, strict=True)
        if _can_tell(other) and verdicts[row].correct != other.correct
    )
    return Audit(
        stats,
        reference_stats,
        reader_stats,
        len(rows),
        disagreements,
        reading_disagreements,
        tuple(verdicts),
        tuple(readings),
    )


def _grade_as(
    data_source: str, requests: Sequence[GradeRequest], rows: Sequence[int], pool: GradingPool
) -> tuple[list[Verdict], GradeStats]:
    verdicts = pool.grade([dataclasses.replace(requests[row], data_source=data_source) for row in rows])
    return verdicts, pool.last_stats


def _can_tell(verdict: Verdict) -> bool:
    return verdict.status != "unjudged" and verdict.reason not in ABORTED and verdict.extracted is not None


def _disagreement(
    row: int, request: GradeRequest, ours: Verdict, other: Verdict, readings: str | None = None
) -> Disagreement:
    answer = ours.extracted if ours.extracted is not None else request.completion[-_TAIL:]
    status = "given up" if other.reason in ABORTED else other.status
    texts = _printable(request.ground_truth), _printable(answer)
    return Disagreement(row, request.data_source, *texts, ours.status, status, readings, ours.reason)


def _row(disagreement: Disagreement) -> dict[str, object]:
    return {name: value for name, value in dataclasses.asdict(disagreement).items() if value is not None}


def _printable(text: str, longest: int = _TAIL) -> str:
    """Returns the beginning of any text as one line that every terminal and file can take."""
    line = text[:longest].encode("utf-8", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in line)
