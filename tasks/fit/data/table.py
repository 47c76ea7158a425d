"""Reads a CSV or parquet file as columns, with the row of every entry for messages.

A table is either points of a scaling law (a size, a resource, a loss), points of the reuse axis (tau, step, loss) or
gains by benchmark (benchmark, size, loss before and after).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tasks.costs.units import parse_count
from tasks.fit.data.measurements import Floats, Mask
from tasks.imports.delimited import read_text_table
from tasks.imports.json_lines import rows_of
from tasks.imports.model_size import size_in
from tasks.imports.text_files import STDIN, read_text
from tasks.study.errors import InputError
from tasks.study.manifests import atomic_path

_SIZES = {"n_params", "params", "n", "N", "parameters"}
Kind = Literal["scaling", "reuse", "benchmarks"]


@dataclass(frozen=True)
class Table:
    """A file's columns as lists of equal length, with the row number of each entry for messages.

    Attributes:
        path: the file.
        values: column -> values; text from CSV, typed from parquet.
        rows: 1-based line (CSV) or row (parquet) of each entry.
        word: what a row is called in messages.
    """

    path: Path
    values: dict[str, list[Any]]
    rows: list[int]
    word: str = "line"

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def kind(self) -> Kind:
        """What the table holds, by its columns."""
        if "pre_training_test_loss" in self.values:
            return "benchmarks"
        return "reuse" if {"tau", "step"} <= set(self.values) and not _SIZES & set(self.values) else "scaling"

    def only(self, keep: Sequence[int] | Mask) -> Table:
        """The rows with these indices, or of this mask."""
        chosen = np.flatnonzero(keep) if isinstance(keep, np.ndarray) else keep
        if len(chosen) == len(self):
            return self
        values = {name: [column[i] for i in chosen] for name, column in self.values.items()}
        return replace(self, values=values, rows=[self.rows[i] for i in chosen])

    def sizes(self, column: str) -> Floats:
        """A column of model sizes as numbers; 7B, 394k or a name that holds one size (Qwen2.5-7B) are read too.

        Raises:
            InputError: as for `numbers`.
        """
        known: dict[Any, float] = {}

        def read(value: Any) -> float:
            if value not in known:
                known[value] = _size(str(value))
            return known[value]

        return self.numbers(column, read)

    def numbers(self, column: str, read: Callable[[Any], float] = float) -> Floats:
        """A column as numbers, each entry by `read`.

        Raises:
            InputError: an entry is empty, NaN or no number.
        """
        values = self.values[column]
        try:
            out = np.fromiter(map(read, values), np.float64, len(values))
        except (TypeError, ValueError):
            out = np.array([_number(value, read) for value in values])
        wrong = np.flatnonzero(np.isnan(out))
        if len(wrong):
            index = int(wrong[0])
            raise InputError(f"{self.where(index, column)}: expected a number, found {values[index]!r}")
        return out

    def where(self, index: int, column: str) -> str:
        """Names an entry in a message."""
        return f"{self.path}: {self.word} {self.rows[index]}, column {column}"


def count_of(value: Any) -> float:
    """A number, or one with k, M, B or T (1.2M tokens)."""
    try:
        return float(value)
    except ValueError:
        return parse_count(str(value))


def _size(text: str) -> float:
    try:
        return parse_count(text)
    except ValueError:
        (size,) = size_in(text)  # several or none: a ValueError too
        return size


def _number(value: Any, read: Callable[[Any], float]) -> float:
    """An entry as a number, NaN where it is none."""
    try:
        return read(value)
    except (TypeError, ValueError):
        return float("nan")


def read_table(path: Path) -> Table:
    """Reads a text table with a header, JSON lines or a parquet file; `-` is standard input.

    Raises:
        InputError: no such file, not of that format, no header or no rows.
    """
    if path != STDIN and not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix in (".parquet", ".pq"):
        table = _read_parquet(path)
    else:
        text = read_text(path)
        table = _read_json_lines(path, text) if text.lstrip()[:1] in ("{", "[") else _read_text(path, text)
    if not len(table):
        raise InputError(f"{path}: no rows")
    return table


def _read_text(path: Path, text: str) -> Table:
    read = read_text_table(path, text)
    return Table(path, dict(read.cells), read.lines)


def _read_json_lines(path: Path, text: str) -> Table:
    rows = list(rows_of(path, text))
    if len(rows) == 1 and len({len(v) if isinstance(v, list) else -1 for v in rows[0].values()} - {-1}) == 1:
        rows = _turned(path, rows[0])
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Table(path, {name: [row.get(name) for row in rows] for name in names}, list(range(1, len(rows) + 1)))


def _turned(path: Path, columns: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of an object of lists, one for each column."""
    other = [name for name, values in columns.items() if not isinstance(values, list)]
    if other:
        raise InputError(f"{path}: {other[0]!r}: expected a list like the other columns")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _read_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # One file, read as it is: no data-set discovery, no threads, no pandas.
        columns = pq.ParquetFile(path).read(use_threads=False).to_pydict()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a parquet file ({str(error).splitlines()[0]})") from None
    count = len(next(iter(columns.values()), []))
    return Table(path, columns, list(range(1, count + 1)), "row")


def write_table(path: Path, table: Table) -> None:
    """Writes a table's columns atomically, as parquet or, where the name ends so, as CSV.

    Raises:
        InputError: the name ends in neither.
    """
    import pyarrow as pa
    import pyarrow.csv as pa_csv
    import pyarrow.parquet as pq

    writers = {".parquet": pq.write_table, ".pq": pq.write_table, ".csv": pa_csv.write_csv}
    if path.suffix not in writers:
        raise InputError(f"{path}: expected a name that ends in .parquet or .csv")
    with atomic_path(path) as temporary:
        writers[path.suffix](pa.table(table.values), temporary)
