"""`LoggedRun`, what every reader of this room returns: a run's logged numbers by key, nothing chosen or converted."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LoggedRun:
    """A run as its trainer logged it.

    Attributes:
        source: where it was read, for messages and the output's column `source`.
        name: the run's name: the file's own where it has one, else from the path.
        columns: key -> values, one per logged row in the file's order, NaN where a row lacks the key [R].
        settings: what the source says of the run besides numbers by row: model, batch, columns of text.
    """

    source: str
    name: str
    columns: dict[str, Floats]
    settings: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))


class ColumnBuilder:
    """Collects rows whose keys differ, in memory that grows with the numbers there are."""

    def __init__(self) -> None:
        self.num_rows = 0
        self._entries: dict[str, tuple[array[int], array[float]]] = {}

    def add(self, row: Mapping[str, Any]) -> None:
        """Appends a row; texts, lists, flags and null are left out, nested keys are joined by a slash."""
        for key, value in _numbers(row, ""):
            rows, values = self._entries.setdefault(key, (array("q"), array("d")))
            rows.append(self.num_rows)
            values.append(value)
        self.num_rows += 1

    def columns(self) -> dict[str, Floats]:
        """The rows so far as columns of equal length; of a key that a row has twice the last value counts."""
        out = {}
        for key, (rows, values) in self._entries.items():
            column = np.full(self.num_rows, np.nan)
            column[np.asarray(rows)] = np.asarray(values)
            out[key] = column
        return out


def columns_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, Floats]:
    """Columns of rows whose keys may differ."""
    builder = ColumnBuilder()
    for row in rows:
        builder.add(row)
    return builder.columns()


def _numbers(value: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, float]]:
    for key, entry in value.items():
        if isinstance(entry, Mapping):
            yield from _numbers(entry, f"{prefix}{key}/")
        elif isinstance(entry, (int, float)) and not isinstance(entry, bool):
            yield f"{prefix}{key}", float(entry)
