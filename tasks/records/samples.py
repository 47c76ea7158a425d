"""`Sample`, a row of an evaluation's `samples.parquet`: one graded completion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tasks.records.parquet import read_rows, schema_of, write_parquet


@dataclass(frozen=True)
class Sample:
    """A graded sample.

    Attributes:
        problem_id: the problem.
        sample: index among the problem's samples.
        text: the completion, special tokens left out.
        tokens: length in tokens, end-of-sequence counted.
        finish: `stop` or `length`.
        status: right, wrong, or unjudged (the scorer could not judge); of the final answer, wherever it stands.
        extracted: the answer found in the text, None where there was none.
        score: the strict score, 0 to 1: the reward; partial credit where the scorer gives it.
        reason: the scorer's short reason.
        lenient: the lenient score, 0 to 1; None in rows of versions that did not record it.
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
    lenient: float | None = None


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Writes samples atomically."""
    write_parquet(path, (asdict(sample) for sample in samples), schema_of(Sample))


def read_samples(path: Path) -> list[Sample]:
    """Reads samples; those of older versions have no lenient score.

    Raises:
        InputError: there is no such file, or a column is missing or unknown.
    """
    return read_rows(path, Sample, "no samples; run `rlscale evaluate` first")
