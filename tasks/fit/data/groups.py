"""Splits a table into groups of measurements.

Nothing is guessed or dropped silently: what was left out or converted stands in the measurements' notes, and a value
that cannot be used is refused with its row and column.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.costs.units import short_count
from tasks.fit.data.columns import Columns, resolve
from tasks.fit.data.loss_values import read_losses
from tasks.fit.data.measurements import Floats, Measurements, measure
from tasks.fit.data.sources import read_sources
from tasks.fit.data.table import Table, count_of
from tasks.imports.column_names import COLUMN_ALIASES
from tasks.records.published import UNITS
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
EMPTY = ("", "nan", "none", "null", "na", "n/a", "-")
"""What exports write into a cell that holds nothing."""


def read_group(
    file: Path, columns: Columns, allow_mixed: bool = False, variant: str | None = None, min_points: int = 3
) -> tuple[str, Measurements]:
    """Reads one group of a file along its first resource column.

    Args:
        file: a table, or a log of `tasks.imports`.
        columns: names of its columns.
        allow_mixed: whether runs of different protocols may be pooled.
        variant: the group; None: the first.
        min_points: of a size.

    Returns:
        Its name and points.

    Raises:
        InputError: the file holds no points of a scaling law, has no such group, or as for `groups_of`.
    """
    table, notes = read_sources([file], columns.log)
    if table.kind != "scaling":
        raise InputError(f"{file}: expected points of a scaling law (size, resource, loss), found a {table.kind} table")
    groups = groups_of(table, resolve(table, columns)[0], allow_mixed, min_points)
    if variant is not None and variant not in groups:
        raise InputError(f"{file}: no group {variant!r}, found {', '.join(groups)}")
    name = variant or next(iter(groups))
    return name, replace(groups[name], notes=(*notes, *groups[name].notes))


def all_groups(
    table: Table, columns: Columns, allow_mixed: bool = False, min_points: int = 3
) -> list[tuple[str, Measurements]]:
    """Every group of a table along every resource column; raises as `groups_of`."""
    named = resolve(table, columns)
    return [group for one in named for group in groups_of(table, one, allow_mixed, min_points).items()]


def groups_of(
    table: Table, columns: Columns, allow_mixed: bool = False, min_points: int = 3
) -> dict[str, Measurements]:
    """Splits a table into measurements by the group column.

    Of the study's own points, step 0 and the reuse and group-size axes are left out: they are no points of a scaling
    law.

    Raises:
        InputError: a value is out of range, rows are duplicated, a size has fewer than 3 points, or runs that differ in
            their protocol would be pooled.
    """
    table, notes = _with_values(table, columns)
    table, left_out = _scale_axis(table, columns)
    names = [str(value) for value in table.values[columns.group]] if columns.group else ["all"] * len(table)
    out = {}
    for name in dict.fromkeys(names):
        part = table.only([index for index, value in enumerate(names) if value == name])
        if not allow_mixed:
            _refuse_mixed(part, name)
        points = _points(part, columns, name, min_points)
        out[name] = replace(points, notes=(*notes, *left_out, *points.notes))
    return out


def _with_values(table: Table, columns: Columns) -> tuple[Table, list[str]]:
    """Leaves out rows without a loss: logs evaluate now and then; with `drop_missing` also those without N or X."""
    needed = [columns.loss, *((columns.n, columns.x) if columns.drop_missing else ())]
    notes = []
    for name in filter(None, needed):
        keep = [index for index, value in enumerate(table.values[name]) if not is_empty(value)]
        if 0 < len(keep) < len(table):
            notes.append(f"{len(table) - len(keep)} of {len(table)} rows have no {name} and are left out")
            table = table.only(keep)
    return table, notes


def is_empty(value: object) -> bool:
    """Whether a cell holds nothing: null, NaN or one of `EMPTY`."""
    return value is None or value != value or str(value).strip().lower() in EMPTY


def _scale_axis(table: Table, columns: Columns) -> tuple[Table, list[str]]:
    """Leaves out step 0 and, where the table has the study's axes, all but tau = 1 and the most common group size."""
    keep = np.ones(len(table), dtype=bool)
    notes = []
    if columns.step and columns.step in table.values:
        keep &= table.numbers(columns.step) != 0
    for name in ("tau", "group_size"):
        if name not in table.values:
            continue
        values, before = table.numbers(name), int(keep.sum())
        most_common = Counter(values[keep].tolist()).most_common(1)
        wanted = 1.0 if name == "tau" else most_common[0][0] if most_common else 0.0
        keep &= values == wanted
        if keep.sum() < before:
            notes.append(f"{before - keep.sum()} of {before} rows with another {name} than {wanted:g} are left out")
    if not keep.any():
        raise InputError(f"{table.path}: no row is a point of a scaling law (step > 0, tau = 1)")
    return table.only(keep), notes


def _refuse_mixed(table: Table, group: str) -> None:
    for name in PROTOCOL:
        if name in table.values and len(set(table.values[name])) > 1:
            values = ", ".join(sorted({str(value) for value in table.values[name]}))
            raise InputError(
                f"{table.path}: column {name} differs within {group} ({values}); "
                "runs with different protocols are not pooled unless --allow-mixed is given"
            )


def _points(table: Table, columns: Columns, group: str, min_points: int = 3) -> Measurements:
    """The rows as measurements, checked: N, X > 0, loss in (0, 1], one row per run and step, 3 points per size.

    A table without a run column has one run per size.

    Raises:
        InputError: with the row and the column, or the size.
    """
    table, n = _sizes(table, columns)
    names = {"n": str(columns.n), "x": str(columns.x), "loss": str(columns.loss)}
    labels = _size_labels(table, n)
    runs = _run_names(table, columns)
    table, n, runs, notes = _once_per_step(table, columns, n, runs)
    x = table.numbers(names["x"], count_of)
    if (x <= 0).any():
        index = int(np.flatnonzero(x <= 0)[0])
        raise InputError(f"{table.where(index, names['x'])}: expected a positive number, found {x[index]:g}")
    trials = _trials(table, columns.trials) if columns.trials else None
    loss, said = read_losses(table, names["loss"], x, n, trials, columns.log.scale)
    extra: dict[str, Any] = {"unit": columns.x, "labels": labels, "trials": trials}
    if columns.step and columns.step in table.values:
        step = table.numbers(columns.step)
        if (step == np.round(step)).all():
            extra["step"] = step.astype(int)
        else:
            said.append(f"{columns.step} has fractions: the order of a run's points stands for its steps")
    points = measure(n, x, loss, runs, lambda index, name: table.where(index, names[name]), **extra)
    counts = np.bincount(points.size)
    if counts.min() < min_points:
        size = points.label(float(points.sizes[int(np.argmin(counts))]))
        raise InputError(
            f"{table.path}: size {size} in column {columns.n} of group {group} has {counts.min()} points, expected at "
            f"least {min_points}; --without {size} leaves it out, and --law additive, pivot or floor_shared takes fewer"
        )
    return replace(points, notes=(*notes, *said))


def _sizes(table: Table, columns: Columns) -> tuple[Table, Floats]:
    """The rows of the sizes that are wanted, and N of each, in parameters.

    Raises:
        InputError: sizes look like billions or millions, or a size to leave out is not there.
    """
    n = table.sizes(str(columns.n)) * (columns.n_unit or 1.0)
    if columns.without:
        labels = _size_labels(table, n)
        named = [{short_count(value), f"{value:g}", labels.get(float(value), "")} for value in n]
        unknown = [text for text in columns.without if not any(text in names for names in named)]
        if unknown:
            found = ", ".join(dict.fromkeys(labels.get(float(value)) or short_count(value) for value in np.unique(n)))
            raise InputError(f"{table.path}: no size {unknown[0]!r} (--without), found {found}")
        keep = [index for index, names in enumerate(named) if not names & set(columns.without)]
        table, n = table.only(keep), n[keep]
    positive = n[n > 0]
    if columns.n_unit is None and len(positive) and positive.min() < 1e3:
        found = ", ".join(f"{value:g}" for value in np.unique(positive)[:8])
        raise InputError(
            f"{table.path}: column {columns.n}: sizes below 1,000 parameters ({found}): are these billions? "
            "give --n-unit 1e9, --n-unit 1e6 or, if they are parameters, --n-unit 1"
        )
    return table, n


def _run_names(table: Table, columns: Columns) -> list[str] | None:
    """A name for each row's run; None: the table has no run column. `measure` tells equal names apart by size."""
    if columns.run is None:
        return None
    word = "seed " if columns.run.lower() == "seed" else ""
    return [f"{word}{value}" for value in table.values[columns.run]]


def _once_per_step(
    table: Table, columns: Columns, n: Floats, runs: list[str] | None
) -> tuple[Table, Floats, list[str] | None, list[str]]:
    """Of rows of one run and step the last: a resumed run logs some steps again.

    Raises:
        InputError: two rows share size and step and the table has no run column.
    """
    by = columns.step if columns.step and columns.step in table.values else str(columns.x)
    position = table.numbers(by)
    names: dict[str, int] = {}
    run = np.array([names.setdefault(name, len(names)) for name in runs or ()] or np.zeros(len(n)))
    order = np.lexsort((np.arange(len(n)), position, n, run))
    same = np.all([np.diff(values[order]) == 0 for values in (run, n, position)], axis=0)
    if not same.any():
        return table, n, runs, []
    if runs is None:
        # Of equal rows the later one is named; of several pairs the one whose later row comes first.
        pair = int(np.argmin(np.where(same, order[1:], len(n))))
        first, second = order[pair], order[pair + 1]
        raise InputError(
            f"{table.path}: {table.word} {table.rows[second]} repeats {table.word} {table.rows[first]} "
            f"(size {short_count(n[second])}, {by} {position[second]:g}) in column {by}; "
            "--run names the column of a size's runs"
        )
    keep = np.ones(len(n), dtype=bool)
    keep[order[:-1][same]] = columns.log.keep == "first"
    if columns.log.keep == "first":
        keep[order[1:][same]] = False
    notes = [f"{(~keep).sum()} rows repeat the {by} of their run: the {columns.log.keep} one counts"]
    kept = np.flatnonzero(keep)
    return table.only(keep), n[keep], [runs[index] for index in kept], notes


def _size_labels(table: Table, n: Floats) -> dict[float, str]:
    """Names of sizes by N, from a column size or model that names each N differently."""
    for source in ("size", "model"):
        if source in table.values:
            labels = {v: str(name) for v, name in zip(n.tolist(), table.values[source], strict=True)}
            if len(set(labels.values())) == len(labels):
                return labels
    return {}


def _trials(table: Table, column: str) -> Floats:
    values = table.numbers(column)
    if (values < 1).any():
        index = int(np.flatnonzero(values < 1)[0])
        raise InputError(f"{table.where(index, column)}: expected at least 1 graded answer, found {values[index]:g}")
    return values


def points_table(table: Table, columns: Columns) -> tuple[Table, list[str]]:
    """A table of points in the names of the study's own, along every resource column; raises as `groups_of`.

    Sizes with fewer than 3 points are kept.
    """
    values: dict[str, list[Any]] = {}
    notes: list[str] = []
    for named in resolve(table, columns):
        groups = groups_of(table, named, allow_mixed=True, min_points=1)
        if not values:  # rows come sorted by size, run and step, whatever the resource
            values = _study_columns(groups, named)
        resource = UNITS.get(str(named.x), str(named.x))
        values[resource] = [value for points in groups.values() for value in points.resource.tolist()]
        notes += [note for points in groups.values() for note in points.notes]
    count = len(values["run_id"])
    values["source"] = [str(table.path)] * count
    return Table(table.path, values, list(range(1, count + 1)), "point"), list(dict.fromkeys(notes))


def _study_columns(groups: dict[str, Measurements], named: Columns) -> dict[str, list[Any]]:
    """The columns of all groups but for the resource."""
    values: dict[str, list[Any]] = {name: [] for name in ("run_id", "size", "n_params", "test_loss")}
    optional = {"variant": named.group is not None}
    optional["step"] = all(points.steps_known for points in groups.values())
    optional["trials"] = all(points.trials is not None for points in groups.values())
    values |= {name: [] for name, there in optional.items() if there}
    for group, points in groups.items():
        labels = [points.label(float(n)) for n in points.sizes]
        values["run_id"] += [points.runs[index] for index in points.run.tolist()]
        values["size"] += [labels[index] for index in points.size.tolist()]
        values["n_params"] += points.n.tolist()
        values["test_loss"] += points.loss.tolist()
        for name, column in (("variant", [group] * len(points)), ("step", points.step), ("trials", points.trials)):
            if optional[name]:
                values[name] += np.asarray(column).tolist()
    return values


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
    run = next((name for name in ("run_id", "run") if name in table.values), None)
    columns = Columns(n="tau", x="step", loss=loss, run=run, step="step", n_unit=1.0)
    out = {}
    for name in dict.fromkeys(names):
        points = _points(table.only([i for i, value in enumerate(names) if value == name]), columns, name)
        out[name] = replace(points, labels={float(tau): f"tau {tau:g}" for tau in points.sizes})
    return out
