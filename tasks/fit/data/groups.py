"""Splits a table into groups of measurements, its columns named on the command line or recognized by name.

Nothing is guessed silently: `resolve` says what was taken for what, and a value that cannot be used is refused with its
row and column.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.costs.units import short_count
from tasks.fit.data.measurements import Floats, Measurements, measure
from tasks.fit.data.table import SIZE_COLUMNS, Table, read_table
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
    "n": SIZE_COLUMNS,
    "x": ("compute", "compute_flops", "data", "data_samples", "flops", "samples", "x", "X", "C", "D"),
    "loss": ("test_loss", "loss", "L"),
    "run": ("run_id", "run"),
    "trials": ("trials",),
    "group": ("variant",),
}


@dataclass(frozen=True)
class Columns:
    """Names of columns; None: recognised from `COLUMN_ALIASES`."""

    n: str | None = None
    x: str | None = None
    loss: str | None = None
    run: str | None = None
    trials: str | None = None
    group: str | None = None


def resolve(table: Table, columns: Columns) -> list[Columns]:
    """Fills in column names: one result for each resource column found, or for the named one.

    Raises:
        InputError: a named column is missing, or a needed one is not recognised.
    """
    for option, name in vars(columns).items():
        if name is not None and name not in table.values:
            raise InputError(f"{table.path}: no column {name!r} (--{option}), found {', '.join(table.values)}")
    named = {
        option: value or next((name for name in COLUMN_ALIASES[option] if name in table.values), None)
        for option, value in vars(columns).items()
    }
    for option in ("n", "x", "loss"):
        if named[option] is None:
            raise InputError(f"{table.path}: no column for --{option}, found {', '.join(table.values)}")
    resources = [columns.x] if columns.x else [name for name in COLUMN_ALIASES["x"] if name in table.values]
    return [Columns(**{**named, "x": name}) for name in resources]


def read_group(
    file: Path, columns: Columns, allow_mixed: bool = False, variant: str | None = None
) -> tuple[str, Measurements]:
    """Reads one group of a file along its first resource column.

    Args:
        file: the table.
        columns: names of its columns.
        allow_mixed: whether runs of different protocols may be pooled.
        variant: the group; None: the first.

    Returns:
        Its name and points.

    Raises:
        InputError: the file holds no points of a scaling law, has no such group, or as for `groups_of`.
    """
    table = read_table(file)
    if table.kind != "scaling":
        raise InputError(f"{file}: expected points of a scaling law (size, resource, loss), found a {table.kind} table")
    groups = groups_of(table, resolve(table, columns)[0], allow_mixed)
    if variant is not None and variant not in groups:
        raise InputError(f"{file}: no group {variant!r}, found {', '.join(groups)}")
    name = variant or next(iter(groups))
    return name, groups[name]


def all_groups(table: Table, columns: Columns, allow_mixed: bool = False) -> list[tuple[str, Measurements]]:
    """Every group of a table along every resource column; raises as `groups_of`."""
    return [group for named in resolve(table, columns) for group in groups_of(table, named, allow_mixed).items()]


def groups_of(table: Table, columns: Columns, allow_mixed: bool = False) -> dict[str, Measurements]:
    """Splits a table into measurements by the group column.

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
    """Leaves out step 0 and, where the table has the study's axes, all but tau = 1 and the most common group size."""
    keep = np.ones(len(table), dtype=bool)
    if "step" in table.values:
        keep &= table.numbers("step") != 0
    if "tau" in table.values:
        keep &= table.numbers("tau") == 1
    if "group_size" in table.values:
        sizes = table.numbers("group_size")
        most_common = Counter(sizes[keep].tolist()).most_common(1)
        keep &= sizes == most_common[0][0] if most_common else False
    if not keep.any():
        raise InputError(f"{table.path}: no row is a point of a scaling law (step > 0, tau = 1)")
    return table.only(keep)


def _refuse_mixed(table: Table, group: str) -> None:
    for name in PROTOCOL:
        if name in table.values and len(set(table.values[name])) > 1:
            values = ", ".join(sorted({str(value) for value in table.values[name]}))
            raise InputError(
                f"{table.path}: column {name} differs within {group} ({values}); "
                "runs with different protocols are not pooled unless --allow-mixed is given"
            )


def _points(table: Table, columns: Columns) -> Measurements:
    """The rows as measurements, checked: N, X > 0, loss in (0, 1], one row per run and step, 3 points per size.

    A table without a run column has one run per size.

    Raises:
        InputError: with the row and the column, or the size.
    """
    names = {"n": str(columns.n), "x": str(columns.x), "loss": str(columns.loss)}
    n = table.sizes(names["n"])
    x, loss = (table.numbers(names[name]) for name in ("x", "loss"))
    extra: dict[str, Any] = {"unit": columns.x, "labels": _size_labels(table, n)}
    if "step" in table.values:
        extra["step"] = table.numbers("step").astype(int)
    if columns.trials:
        extra["trials"] = _trials(table, columns.trials)
    runs = [str(v) for v in table.values[columns.run]] if columns.run else None
    points = measure(n, x, loss, runs, lambda index, name: table.where(index, names[name]), **extra)
    _refuse_duplicates(table, columns, runs, n, extra.get("step", x))
    counts = np.bincount(points.size)
    if counts.min() < 3:
        size = points.label(float(points.sizes[int(np.argmin(counts))]))
        raise InputError(
            f"{table.path}: size {size} in column {columns.n} has {counts.min()} points, expected at least 3"
        )
    return points


def _size_labels(table: Table, n: Floats) -> dict[float, str]:
    """Names of sizes by N, from a column size or model."""
    source = next((name for name in ("size", "model") if name in table.values), None)
    return {} if source is None else {v: str(name) for v, name in zip(n.tolist(), table.values[source], strict=True)}


def _trials(table: Table, column: str) -> Floats:
    values = table.numbers(column)
    if (values < 1).any():
        index = int(np.flatnonzero(values < 1)[0])
        raise InputError(f"{table.where(index, column)}: expected at least 1 graded answer, found {values[index]:g}")
    return values


def _refuse_duplicates(table: Table, columns: Columns, runs: list[str] | None, sizes: Floats, position: Any) -> None:
    """Refuses a second row of a run at the same step, or at the same X where there are no steps."""
    names: dict[str, int] = {}
    run = np.array([names.setdefault(name, len(names)) for name in runs or ()] or np.zeros(len(sizes)))
    order = np.lexsort((np.arange(len(sizes)), position, sizes, run))
    same = np.all([np.diff(values[order]) == 0 for values in (run, sizes, position)], axis=0)
    if not same.any():
        return
    # Of equal rows the later one is named; of several pairs the one whose later row comes first.
    pair = int(np.argmin(np.where(same, order[1:], len(sizes))))
    first, second = order[pair], order[pair + 1]
    by = "step" if "step" in table.values else str(columns.x)
    name = runs[second] if runs is not None else short_count(sizes[second])
    raise InputError(
        f"{table.path}: {table.word} {table.rows[second]} repeats {table.word} {table.rows[first]} "
        f"(run {name}, {by} {position[second]:g}) in column {by}"
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
