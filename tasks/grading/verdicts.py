"""The records of grading: an answer goes in, a verdict comes out, counts say how a batch went."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

Status = Literal["right", "wrong", "unjudged"]


@dataclass(frozen=True, slots=True)
class GradeRequest:
    """One thing to grade.

    Attributes:
        data_source: name of the problem set; chooses the scorer (`scorer_for`).
        completion: the model's text, whole.
        ground_truth: the gold answer as text; structured golds (grid) as JSON, see `ground_truth_text`.
    """

    data_source: str
    completion: str
    ground_truth: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What grading found.

    Attributes:
        status: "unjudged" means the gold answer itself cannot be read, so that nothing could have scored.
        score: 0 to 1. All-or-nothing scorers give 1.0 exactly when right; `grid` gives the fraction of right cells.
        extracted: the answer found in the completion, None where there was none.
        reason: one short phrase, always filled.
        seconds: wall seconds in a worker process; 0.0 where the answer was decided at once or remembered.
    """

    status: Status
    score: float
    extracted: str | None
    reason: str
    seconds: float = 0.0

    @property
    def correct(self) -> bool:
        """Whether the answer is right as a whole."""
        return self.status == "right"


@dataclass(frozen=True, slots=True)
class DeferredGrade:
    """What a scorer could not decide at once: goes to a worker process as plain text.

    Attributes:
        scorer: name of the scorer whose `slow` half decides.
        ground_truth: the gold answer.
        text: what the slow half reads (an extracted answer, a whole completion or a program).
        extracted: what the verdict reports as extracted.
        boxed: whether `text` was taken out of a box; otherwise it is the whole completion.
    """

    scorer: str
    ground_truth: str
    text: str
    extracted: str | None
    boxed: bool = True


@dataclass(frozen=True, slots=True)
class GradeStats:
    """Counts over a batch of verdicts; batches add up with `+`.

    Attributes:
        graded: answers graded.
        right: answers with status "right".
        unjudged: answers whose gold could not be read.
        timed_out: answers aborted after the second worker ran out of time or memory or died.
        fast_path: answers decided in the calling process.
        remembered: answers whose verdict was known from an equal (gold, answer) pair.
        retried: answers given to a second worker.
        seconds: wall seconds spent in `GradingPool.grade`.
    """

    graded: int = 0
    right: int = 0
    unjudged: int = 0
    timed_out: int = 0
    fast_path: int = 0
    remembered: int = 0
    retried: int = 0
    seconds: float = 0.0

    def __add__(self, other: GradeStats) -> GradeStats:
        return GradeStats(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(GradeStats)))

    @property
    def timed_out_rate(self) -> float:
        """Fraction of answers aborted."""
        return self.timed_out / self.graded if self.graded else 0.0

    @property
    def unjudged_rate(self) -> float:
        """Share of answers whose gold could not be read."""
        return self.unjudged / self.graded if self.graded else 0.0

    @property
    def fast_share(self) -> float:
        """Share of answers decided without a worker process."""
        return (self.fast_path + self.remembered) / self.graded if self.graded else 0.0

    def row(self) -> dict[str, float]:
        r"""Returns the columns a training step logs: rates in 0..1 and seconds."""
        return {
            "grading_timed_out_rate": self.timed_out_rate,
            "grading_unjudged_rate": self.unjudged_rate,
            "grading_fast_share": self.fast_share,
            "grading_seconds": self.seconds,
        }
