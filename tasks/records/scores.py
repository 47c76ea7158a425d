"""`Score`, a row of `data/evaluate/scores.parquet`. pyarrow is imported when a file is touched, not before."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.study.errors import InputError
from tasks.study.manifests import atomic_path

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Score:
    """How a run's final policy did on a benchmark.

    Attributes:
        run_id: the run; initial checkpoints appear as `initial-<model>`.
        benchmark: name of the set, `heldout` included.
        problems: problems in the set.
        samples: completions per problem.
        right: right answers in all.
        pass_at_1: mean over problems of the share of right samples.
        low: lower end of the 95 % Wilson interval of pass@1 (problems as trials).
        high: upper end.
        pass_at_k: unbiased pass@k by k, as text keys.
        truncated: share of completions that hit the length limit.
        mean_length: mean completion length, tokens.
        unjudged: answers the scorer could not judge.
        seconds: wall seconds of generation and grading.
        tokens_per_second: completion tokens per second of generation.
        engine: which engine sampled.
    """

    run_id: str
    benchmark: str
    problems: int
    samples: int
    right: int
    pass_at_1: float
    low: float
    high: float
    pass_at_k: dict[str, float]
    truncated: float
    mean_length: float
    unjudged: int
    seconds: float
    tokens_per_second: float
    engine: str


def write_scores(path: Path, scores: Iterable[Score]) -> None:
    """Writes scores atomically as parquet; pass@k is a JSON text column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [asdict(score) | {"pass_at_k": json.dumps(score.pass_at_k, sort_keys=True)} for score in scores]
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=_score_schema()), temporary)


def _score_schema() -> pa.Schema:
    import pyarrow as pa

    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "dict[str, float]": pa.string()}
    return pa.schema([(entry.name, types[str(entry.type)]) for entry in fields(Score)])


def read_scores(path: Path) -> list[Score]:
    """Reads scores.

    Raises:
        InputError: there is no such file.
    """
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except FileNotFoundError:
        raise InputError(f"{path}: no scores; run `rlscale evaluate` first") from None
    return [Score(**(row | {"pass_at_k": json.loads(row["pass_at_k"])})) for row in rows]
