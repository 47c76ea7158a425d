"""Rows that passed the row rules, on disk; in memory only what deciding between them needs.

A million rows take about 0.1 GB of arrays; their texts lie in an Arrow file that is mapped, not loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.prepare.overlap.minhash import Hashes
from tasks.prepare.sources.rows import Row, text_key
from tasks.records.problems import Problem, problem_of, problem_row, problem_schema
from tasks.study.manifests import atomic_path


@dataclass(frozen=True)
class StoredRows:
    """The rows of a finished store.

    Attributes:
        table: the mapped file: the published layout plus `normalized` text and `origin` (row number in the source).
        keys: hash of each normalized text, shape (rows,).
        bands: band hashes for near-duplicates, shape (rows, bands); no bands where they are switched off.
        rates: pass rates, NaN where unknown.
        levels: levels, -1 where there is none.
    """

    table: pa.Table
    keys: Hashes
    bands: Hashes
    rates: NDArray[np.float64]
    levels: NDArray[np.int64]

    def texts(self, rows: Sequence[int]) -> tuple[list[str], list[str]]:
        """Normalized texts and ground truths of some rows."""
        part = self.table.select(["normalized", "reward_model"]).take(pa.array(rows, pa.int64()))
        return part["normalized"].to_pylist(), [entry["ground_truth"] for entry in part["reward_model"].to_pylist()]

    def lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Characters of some rows' normalized texts."""
        part = self.table["normalized"].take(pa.array(rows, pa.int64()))
        return np.asarray(pc.utf8_length(part).to_numpy(), dtype=np.int64)

    def problems(self, rows: NDArray[np.int64]) -> list[Problem]:
        """Some rows as problems."""
        part = self.table.select(problem_schema().names).take(pa.array(rows, pa.int64()))
        return [problem_of(record) for record in part.to_pylist()]


class RowStore:
    """Writes rows to an Arrow file in batches; a context manager that closes the file."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self.num_rows = 0
        self._schema = _schema()
        self._writer = pa.ipc.new_file(str(path), self._schema)
        self._keys: list[Hashes] = []
        self._bands: list[Hashes] = []
        self._rates: list[NDArray[np.float64]] = []
        self._levels: list[NDArray[np.int64]] = []

    def __enter__(self) -> RowStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def add(self, rows: Sequence[Row], origins: Sequence[int], bands: Hashes) -> None:
        """Appends a batch: rows, their numbers in the source, their band hashes."""
        if not rows:
            return
        self._writer.write_batch(_batch(rows, origins, self._schema))
        keys = [int(text_key(row.normalized), 16) for row in rows]
        rates = [row.problem.pass_rate for row in rows]
        levels = [row.problem.level for row in rows]
        self._keys.append(np.asarray(keys, dtype=np.uint64))
        self._bands.append(bands)
        self._rates.append(np.asarray([np.nan if rate is None else rate for rate in rates]))
        self._levels.append(np.asarray([-1 if level is None else level for level in levels]))
        self.num_rows += len(rows)

    def finish(self) -> StoredRows:
        """Closes the file, maps it and returns its rows."""
        self._writer.close()
        table = pa.ipc.open_file(pa.memory_map(str(self.path))).read_all()
        empty = np.empty(0, dtype=np.uint64)
        return StoredRows(
            table,
            np.concatenate([empty, *self._keys]),
            np.concatenate(self._bands) if self._bands and self._bands[0].size else empty.reshape(0, 0),
            np.concatenate([np.empty(0), *self._rates]),
            np.concatenate([np.empty(0, dtype=np.int64), *self._levels]),
        )


def _schema() -> pa.Schema:
    return problem_schema().append(pa.field("normalized", pa.string())).append(pa.field("origin", pa.int64()))


def _batch(rows: Sequence[Row], origins: Sequence[int], schema: pa.Schema) -> pa.RecordBatch:
    records = [
        problem_row(row.problem) | {"normalized": row.normalized, "origin": origin}
        for row, origin in zip(rows, origins, strict=True)
    ]
    return pa.RecordBatch.from_pylist(records, schema=schema)


def write_rows(path: Path, table: pa.Table, rows: Sequence[int] | NDArray[np.int64], split: str) -> None:
    """Writes some rows of a store's table as a problem set in the published layout, numbered in this order."""
    import pyarrow.parquet as pq

    schema = problem_schema()
    taken = table.select(schema.names).take(pa.array(rows, pa.int64())).combine_chunks()
    extra = taken["extra_info"].combine_chunks()
    struct = extra.chunk(0) if isinstance(extra, pa.ChunkedArray) and extra.num_chunks else extra
    if len(taken):
        fields = {field.name: struct.field(field.name) for field in schema.field("extra_info").type}
        fields |= {"index": pa.array(range(len(taken)), pa.int64()), "split": pa.array([split] * len(taken))}
        renumbered = pa.StructArray.from_arrays(list(fields.values()), fields=list(schema.field("extra_info").type))
        taken = taken.set_column(schema.get_field_index("extra_info"), schema.field("extra_info"), renumbered)
    with atomic_path(path) as temporary:
        pq.write_table(taken, temporary)
