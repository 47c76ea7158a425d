"""The records of grading: a request goes in, a verdict comes out, counts describe a batch.

A verdict has two scores, defined here and nowhere else:

    lenient = how right the final answer is, wherever and however it stands
    strict  = lenient where the answer stands in the form that its data source asks for, else 0

`strict` is the reward, as published. The form of mathematics and of multiple choice is a box, of generated arithmetic
a box around a plain number, of a logic puzzle the `<answer>` tag, of a program a fenced block; a scorer says with
`in_form` whether the answer stands in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, Literal

from tasks.study.errors import InputError

Status = Literal["right", "wrong", "unjudged"]


@dataclass(frozen=True, slots=True)
class GradeRequest:
    """One thing to grade.

    Attributes:
        data_source: name of the problem set; chooses the scorer (`scorer_for`).
        completion: the model's text, whole.
        ground_truth: as text; structured ones (grids) as JSON, see `ground_truth_text`.
    """

    data_source: str
    completion: str
    ground_truth: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What grading found.

    Attributes:
        status: whether the final answer is right, wherever it stands; "unjudged" means that the ground truth cannot be
            read, so that nothing could have scored.
        lenient: 0 to 1. All-or-nothing scorers give 1.0 exactly when right; `grid` gives the fraction of right cells.
        extracted: the answer found in the completion, None where there was none.
        reason: one short phrase, always filled.
        seconds: wall seconds in a worker process; 0.0 where the answer was decided at once or its verdict cached.
        in_form: whether what was graded stands in the form that the data source asks for.
    """

    status: Status
    lenient: float
    extracted: str | None
    reason: str
    seconds: float = 0.0
    in_form: bool = True

    @property
    def strict(self) -> float:
        """The reward, 0 to 1: nothing for an answer that does not stand in its form."""
        return self.lenient if self.in_form else 0.0

    @property
    def correct(self) -> bool:
        """Whether the final answer is right as a whole, in its form or not."""
        return self.status == "right"

    @property
    def strictly_correct(self) -> bool:
        """Whether the answer is right as a whole and stands in its form."""
        return self.correct and self.in_form


@dataclass(frozen=True, slots=True)
class DeferredGrade:
    """What a scorer could not decide in the calling process: goes to a worker process as plain text.

    Attributes:
        scorer: name of the scorer whose `grade_slow` decides.
        ground_truth: what is right, as text.
        text: what `grade_slow` reads (an extracted answer, a whole completion or a program).
        extracted: what the verdict reports as extracted.
        in_form: as in `Verdict`.
    """

    scorer: str
    ground_truth: str
    text: str
    extracted: str | None
    in_form: bool = True


@dataclass(frozen=True, slots=True)
class GradeStats:
    """Counts over a batch of verdicts; batches add up with `+`.

    Attributes:
        graded: answers graded.
        right: answers that are right and stand in their form (strict).
        right_lenient: answers with status "right".
        unjudged: answers whose ground truth could not be read.
        timed_out: answers aborted after the second worker ran out of time or memory or died.
        fast_path: answers decided in the calling process.
        remembered: answers whose verdict was cached, or shared with an equal (ground truth, answer) pair.
        retried: answers given to a second worker.
        seconds: wall seconds spent in `GradingPool.grade`.
    """

    graded: int = 0
    right: int = 0
    right_lenient: int = 0
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
        """Fraction of answers whose ground truth could not be read."""
        return self.unjudged / self.graded if self.graded else 0.0

    @property
    def fast_fraction(self) -> float:
        """Fraction of answers decided without a worker process."""
        return (self.fast_path + self.remembered) / self.graded if self.graded else 0.0

    def row(self) -> dict[str, float]:
        """Returns the columns a training step logs: rates in 0..1 and seconds."""
        return {
            "grading_timed_out_rate": self.timed_out_rate,
            "grading_unjudged_rate": self.unjudged_rate,
            "grading_fast_share": self.fast_fraction,
            "grading_seconds": self.seconds,
        }


def ground_truth_text(value: Any) -> str:
    """Returns a ground truth as the text scorers read: text as it is, numbers as text, structures as JSON.

    Args:
        value: as a parquet reader gives it: str, int, float, or nested dicts, lists and arrays (the puzzle grids).

    Raises:
        InputError: the value has no text form.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    try:
        return json.dumps(_to_lists(value), ensure_ascii=False)
    except TypeError as error:
        raise InputError(f"ground_truth of type {type(value).__name__} has no text form: {error}") from error


def _to_lists(value: Any) -> Any:
    """Turns arrays (anything with `tolist`) and tuples into lists, all the way down."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {str(key): _to_lists(item) for key, item in value.items()}
    return [_to_lists(item) for item in value] if isinstance(value, (list, tuple)) else value
