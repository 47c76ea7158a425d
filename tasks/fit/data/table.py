"""Reads somebody's measurements: a CSV or parquet file, its columns named on the command line or recognised.

A table is either points of a scaling law (a size, a resource, a loss), points of the reuse axis (tau, step, loss) or
gains by benchmark (benchmark, size, loss before and after). Nothing is guessed silently: `Table.columns` says what was
taken for what, and a value that cannot be used is refused with its row and column.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tasks.costs.units import short_count
from tasks.fit.data.measurements import Floats, Measurements, measure, parse_count
from tasks.study.errors import InputError

# The study's columns whose values must agree between pooled runs.
PROTOCOL = (
    "batch",
    "minibatch",
    "max_prompt_tokens",
    "max_completion_tokens",
    "eval_temperature",
    "eval_samples",
    "grader_version",
)
COLUMN_ALIASES = {
    "n": ("n_params", "params", "n", "N", "parameters"),
    "x": ("compute", "compute_flops", "data", "data_samples", "flops", "samples", "x", "X", "C", "D"),
    "loss": ("test_loss", "loss", "L"),
    "run": ("run_id", "run"),
    "trials": ("trials",),
    "group": ("variant",),
}
COMPUTE = ("compute", "compute_flops", "flops", "C")
Kind = Literal["scaling", "reuse", "benchmarks"]


@dataclass(frozen=True)
class Columns:
    """Names of columns; None: recognised from `COLUMN_ALIASES`."""

    n: str | None = None
    x: str | None = None
    loss: str | None = None
    run: str | None = None
    trials: str | None = None
    group: str | None = None


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
        return (
            "reuse"
            if "tau" in self.values and not any(name in self.values for name in COLUMN_ALIASES["n"])
            else "scaling"
        )

    def only(self, keep: Sequence[int]) -> Table:
        """The rows at these positions."""
        values = {name: [column[i] for i in keep] for name, column in self.values.items()}
        return replace(self, values=values, rows=[self.rows[i] for i in keep])

    def sizes(self, column: str) -> Floats:
        """A column of model sizes as numbers; 7B or 394k are read too."""
        return self.numbers(column, lambda value: parse_count(str(value)))

    def numbers(self, column: str, read: Callable[[Any], float] = float) -> Floats:
        """A column as numbers, each entry by `read`.

        Raises:
            InputError: an entry is empty, NaN or no number.
        """
        out = np.empty(len(self))
        for index, value in enumerate(self.values[column]):
            try:
                out[index] = read(value)
            except (TypeError, ValueError):
                out[index] = np.nan
            if np.isnan(out[index]):
                raise InputError(f"{self.where(index, column)}: expected a number, found {value!r}")
        return out

    def where(self, index: int, column: str) -> str:
        """Names an entry in a message."""
        return f"{self.path}: {self.word} {self.rows[index]}, column {column}"


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


def resolve(table: Table, given: Columns) -> list[Columns]:
    """Fills in column names: one result for each resource column found, or for the named one.

    Raises:
        InputError: a named column is missing, or a needed one is not recognised.
    """
    for option, name in vars(given).items():
        if name is not None and name not in table.values:
            found = ", ".join(table.values)
            raise InputError(f"{table.path}: no column {name!r} (--{option}), found {found}")
    named = {
        option: value or next((name for name in COLUMN_ALIASES[option] if name in table.values), None)
        for option, value in vars(given).items()
    }
    for option in ("n", "x", "loss"):
        if named[option] is None:
            raise InputError(f"{table.path}: no column for --{option}, found {', '.join(table.values)}")
    resources = [given.x] if given.x else [name for name in COLUMN_ALIASES["x"] if name in table.values]
    return [Columns(**{**named, "x": name}) for name in resources]


def groups_of(table: Table, columns: Columns, allow_mixed: bool = False) -> dict[str, Measurements]:
    """Cuts a table into measurements by the splitting column.

    Of the study's own points, step 0 and the reuse and group-size axes are left out: they are no points of a scaling
    law.

    Raises:
        InputError: a value is out of range, rows are duplicated, a size has fewer than 3 points, or runs that differ in
            their protocol would be pooled.
    """
    table = _scale_axis(table)
    names = [str(value) for value in table.values[columns.group]] if columns.group else ["all"] * len(table)
    out = {}
    for name in dict.fromkeys(names):
        part = table.only([index for index, value in enumerate(names) if value == name])
        if not allow_mixed:
            _refuse_mixed(part, name)
        out[name] = _points(part, columns)
    return out


def _scale_axis(table: Table) -> Table:
    """Leaves out step 0 and, where the axes of the study are there, everything but tau = 1 and the usual group size."""
    keep = list(range(len(table)))
    if "step" in table.values:
        step = table.numbers("step")
        keep = [i for i in keep if step[i] != 0]
    if "tau" in table.values:
        tau = table.numbers("tau")
        keep = [i for i in keep if tau[i] == 1]
    if "group_size" in table.values:
        sizes = table.numbers("group_size")
        usual = Counter(sizes[i] for i in keep).most_common(1)
        keep = [i for i in keep if sizes[i] == usual[0][0]]
    if not keep:
        raise InputError(f"{table.path}: no row is a point of a scaling law (step > 0, tau = 1)")
    return table.only(keep)


def _refuse_mixed(table: Table, group: str) -> None:
    for name in PROTOCOL:
        if name in table.values and len(set(table.values[name])) > 1:
            found = ", ".join(sorted({str(value) for value in table.values[name]}))
            raise InputError(
                f"{table.path}: column {name} differs within {group} ({found}); "
                "runs with different protocols are not pooled unless --allow-mixed is given"
            )


def _points(table: Table, columns: Columns) -> Measurements:
    """The rows as measurements, checked: N, X > 0, loss in (0, 1], one row per run and step, 3 points per size.

    A table without a run column has one run per size.

    Raises:
        InputError: with the row and the column, or the size.
    """
    assert columns.n is not None
    assert columns.x is not None
    assert columns.loss is not None
    n = table.sizes(columns.n)
    x, loss = (table.numbers(name) for name in (columns.x, columns.loss))
    for name, values, bad, expected in (
        (columns.n, n, ~(np.isfinite(n) & (n > 0)), "a positive number"),
        (columns.x, x, ~(np.isfinite(x) & (x > 0)), "a positive number"),
        (columns.loss, loss, ~((loss > 0) & (loss <= 1)), "a loss in (0, 1]"),
    ):
        if bad.any():
            index = int(np.flatnonzero(bad)[0])
            raise InputError(f"{table.where(index, name)}: expected {expected}, found {values[index]:g}")
    runs = [str(v) for v in table.values[columns.run]] if columns.run else [short_count(value) for value in n]
    step = table.numbers("step").astype(int) if "step" in table.values else None
    _refuse_duplicates(table, columns, runs, x if step is None else step)
    labels: dict[float, str] = {}
    for source in ("size", "model"):
        if source in table.values and not labels:
            labels = {float(size): str(name) for size, name in zip(n, table.values[source], strict=True)}
    extra: dict[str, Any] = {"unit": columns.x, "labels": labels}
    if step is not None:
        extra["step"] = step
    if columns.trials:
        extra["trials"] = _trials(table, columns.trials)
    points = measure(n, x, loss, runs, **extra)
    counts = np.bincount(points.size)
    if counts.min() < 3:
        size = points.label(float(points.sizes[int(np.argmin(counts))]))
        raise InputError(
            f"{table.path}: size {size} in column {columns.n} has {counts.min()} points, expected at least 3"
        )
    return points


def _trials(table: Table, column: str) -> Floats:
    values = table.numbers(column)
    if (values < 1).any():
        index = int(np.flatnonzero(values < 1)[0])
        raise InputError(f"{table.where(index, column)}: expected at least 1 graded answer, found {values[index]:g}")
    return values


def _refuse_duplicates(table: Table, columns: Columns, runs: list[str], position: Any) -> None:
    by = "step" if "step" in table.values else str(columns.x)
    seen: dict[tuple[str, float, float], int] = {}
    sizes = table.sizes(str(columns.n))
    for index, key in enumerate(zip(runs, sizes, position, strict=True)):
        first = seen.setdefault((key[0], float(key[1]), float(key[2])), index)
        if first != index:
            raise InputError(
                f"{table.path}: {table.word} {table.rows[index]} repeats {table.word} {table.rows[first]} "
                f"(run {key[0]}, {by} {key[2]:g}) in column {by}"
            )


def reuse_groups(table: Table, loss: str | None = None) -> dict[str, Measurements]:
    """A table of the reuse axis (tau, step, loss) by variant, with tau in place of N.

    Raises:
        InputError: a column is missing or a value out of range.
    """
    loss = loss or next((name for name in COLUMN_ALIASES["loss"] if name in table.values), None)
    for name in ("tau", "step", loss or "test_loss"):
        if name not in table.values:
            raise InputError(f"{table.path}: no column {name!r}, found {', '.join(table.values)}")
    names = [str(v) for v in table.values["variant"]] if "variant" in table.values else ["all"] * len(table)
    run = next((name for name in COLUMN_ALIASES["run"] if name in table.values), None)
    columns = Columns(n="tau", x="step", loss=loss, run=run)
    out = {}
    for name in dict.fromkeys(names):
        points = _points(table.only([i for i, value in enumerate(names) if value == name]), columns)
        out[name] = replace(points, labels={float(tau): f"tau {tau:g}" for tau in points.sizes})
    return out
