"""`Sample`, a row of an evaluation's `samples.parquet`: one graded completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.records.parquet import read_parquet, schema_of, write_parquet


@dataclass(frozen=True)
class Sample:
    """A graded sample.

    Attributes:
        problem_id: the problem.
        sample: index among the problem's samples.
        text: the completion, special tokens left out.
        tokens: length in tokens, end-of-sequence counted.
        finish: `stop` or `length`.
        status: right, wrong, or unjudged (the scorer could not judge).
        extracted: the answer found in the text, None where there was none.
        score: 0 to 1; partial credit where the scorer gives it.
        reason: the scorer's short reason.
    """

    problem_id: str
    sample: int
    text: str
    tokens: int
    finish: str
    status: str
    extracted: str | None
    score: float
    reason: str


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Writes samples atomically."""
    write_parquet(path, (asdict(sample) for sample in samples), schema_of(Sample))


def read_samples(path: Path) -> list[Sample]:
    """Reads samples.

    Raises:
        InputError: there is no such file.
    """
    return [Sample(**row) for row in read_parquet(path, "no samples; run `rlscale evaluate` first")]
