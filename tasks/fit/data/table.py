"""Reads a CSV or parquet file as columns, with the row of every entry for messages.

A table is either points of a scaling law (a size, a resource, a loss), points of the reuse axis (tau, step, loss) or
gains by benchmark (benchmark, size, loss before and after).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tasks.fit.data.measurements import Floats, Mask, parse_count
from tasks.study.errors import InputError

SIZE_COLUMNS = ("n_params", "params", "n", "N", "parameters")
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
        if "benchmark" in self.values:
            return "benchmarks"
        has_size = any(name in self.values for name in SIZE_COLUMNS)
        return "reuse" if "tau" in self.values and not has_size else "scaling"

    def only(self, keep: Sequence[int] | Mask) -> Table:
        """The rows with these indices, or of this mask."""
        chosen = np.flatnonzero(keep) if isinstance(keep, np.ndarray) else keep
        if len(chosen) == len(self):
            return self
        values = {name: [column[i] for i in chosen] for name, column in self.values.items()}
        return replace(self, values=values, rows=[self.rows[i] for i in chosen])

    def sizes(self, column: str) -> Floats:
        """A column of model sizes as numbers; 7B or 394k are read too."""
        known: dict[Any, float] = {}

        def read(value: Any) -> float:
            if value not in known:
                known[value] = parse_count(str(value))
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


def _number(value: Any, read: Callable[[Any], float]) -> float:
    """An entry as a number, NaN where it is none."""
    try:
        return read(value)
    except (TypeError, ValueError):
        return float("nan")


def read_table(path: Path) -> Table:
    """Reads a CSV (with a header) or parquet file.

    Raises:
        InputError: no such file, not of that format, no header or no rows.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    table = _read_parquet(path) if path.suffix in (".parquet", ".pq") else _read_csv(path)
    if not len(table):
        raise InputError(f"{path}: no rows")
    return table


def _read_csv(path: Path) -> Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            header = next(reader, None)
            lines = [(reader.line_num, row) for row in reader if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: not a CSV file ({error})") from None
    if not header or len(set(header)) != len(header):
        raise InputError(f"{path}: line 1 must be a header of distinct column names")
    for number, row in lines:
        if len(row) != len(header):
            raise InputError(f"{path}: line {number} has {len(row)} fields, expected {len(header)}")
    columns = {name.strip(): [row[i] for _, row in lines] for i, name in enumerate(header)}
    return Table(path, columns, [number for number, _ in lines])


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
