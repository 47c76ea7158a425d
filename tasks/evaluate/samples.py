"""One row per sampled answer, and how rows add up to a score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.records.scores import Score
from tasks.records.statistics import mean_pass_at_k, wilson_interval
from tasks.study.errors import InputError
from tasks.study.manifests import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa


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


def sample_schema() -> pa.Schema:
    """Columns of `samples.parquet`."""
    import pyarrow as pa

    types = {"str": pa.string(), "str | None": pa.string(), "int": pa.int64(), "float": pa.float64()}
    return pa.schema([(entry.name, types[str(entry.type)]) for entry in fields(Sample)])


def write_samples(path: Path, samples: Sequence[Sample]) -> None:
    """Writes samples atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist([asdict(row) for row in samples], schema=sample_schema()), temporary)


def read_samples(path: Path) -> list[Sample]:
    """Reads samples.

    Raises:
        InputError: there is no such file.
    """
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except FileNotFoundError:
        raise InputError(f"{path}: no samples; run `rlscale evaluate` first") from None
    return [Sample(**row) for row in rows]


def score_of(name: str, benchmark: str, samples: Sequence[Sample], pass_ks: Sequence[int], engine: str) -> Score:
    """Adds graded samples up; the seconds are left at 0 for the caller, who measured them.

    Args:
        name: the run or initial checkpoint.
        benchmark: name of the set.
        samples: all samples of the set, the same number for each problem.
        pass_ks: k of pass@k; those above the samples per problem are left out.
        engine: which engine sampled.
    """
    right: dict[str, int] = {}
    counts: dict[str, int] = {}
    for row in samples:
        right[row.problem_id] = right.get(row.problem_id, 0) + (row.status == "right")
        counts[row.problem_id] = counts.get(row.problem_id, 0) + 1
    if len(set(counts.values())) != 1:
        raise ValueError(f"{name} on {benchmark}: problems differ in their number of samples")
    n = next(iter(counts.values()))
    pass_at_1 = mean_pass_at_k(1, n, list(right.values()))
    low, high = wilson_interval(pass_at_1, len(right))
    return Score(
        run_id=name,
        benchmark=benchmark,
        problems=len(right),
        samples=n,
        right=sum(right.values()),
        pass_at_1=pass_at_1,
        low=low,
        high=high,
        pass_at_k={str(k): mean_pass_at_k(k, n, list(right.values())) for k in pass_ks if k <= n},
        truncated=sum(row.finish == "length" for row in samples) / len(samples),
        mean_length=sum(row.tokens for row in samples) / len(samples),
        unjudged=sum(row.status == "unjudged" for row in samples),
        seconds=0.0,
        tokens_per_second=0.0,
        engine=engine,
    )
