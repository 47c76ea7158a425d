"""Exports of W&B: a chart's CSV (one column a run), the runs table (one row a run) and a run's history.

A chart has `Step` and columns `<run> - <metric>` with `__MIN` and `__MAX` beside them; people also clean it by hand to
one column a run, named by the run or its size alone.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tasks.imports.logged_run import Floats, LoggedRun

UNNAMED = "value"
"""Metric of a chart whose columns name runs only."""

Cells = dict[str, list[str]]
_CHART_STEPS = ("Step", "step", "_step", "global_step", "trainer/global_step", "train/global_step", "Relative Time")
_RUNS_TABLE = {"State", "Created", "Runtime", "Notes", "User", "Tags", "Sweep", "ID", "Hostname"}
_SIZE = re.compile(r"^\D{0,40}?\d+(?:\.\d+)?\s?[kKmMbB]\b", re.ASCII)


def is_chart(header: list[str]) -> bool:
    """Whether a header is that of a chart: a step, then only columns of runs."""
    if not header or header[0] not in _CHART_STEPS or len(header) < 2:
        return False
    return all(" - " in name or _SIZE.match(name) for name in header[1:])


def is_runs_table(header: list[str]) -> bool:
    """Whether a header is that of the table of runs."""
    return "Name" in header and len(_RUNS_TABLE & set(header)) >= 2


def is_history(header: list[str]) -> bool:
    """Whether a header is that of one run's history."""
    return "_step" in header


def read_chart(path: Path, cells: Cells) -> list[LoggedRun]:
    """A run per column; of several metrics of one run, one run with several keys. Empty cells are gaps."""
    steps, *names = cells
    runs: dict[str, dict[str, Floats]] = {}
    for column in names:
        if column.endswith(("__MIN", "__MAX")):
            continue
        name, _, metric = column.rpartition(" - ") if " - " in column else (column, "", UNNAMED)
        runs.setdefault(name, {"step": numbers(cells[steps])})[metric] = numbers(cells[column])
    return [LoggedRun(str(path), name, columns) for name, columns in runs.items()]


def read_runs_table(path: Path, cells: Cells) -> list[LoggedRun]:
    """A run of one row for each row: final values under their keys, texts as settings."""
    columns = {name: numbers(values) for name, values in cells.items()}
    runs = []
    for index, name in enumerate(cells["Name"]):
        values = {key: column[index : index + 1] for key, column in columns.items() if not np.isnan(column[index])}
        texts = {key: cells[key][index] for key in cells if key not in values and cells[key][index].strip()}
        runs.append(LoggedRun(str(path), name, values, texts))
    return runs


def read_history(path: Path, cells: Cells) -> list[LoggedRun]:
    """One run, its columns as keys."""
    columns = {name: numbers(values) for name, values in cells.items()}
    return [LoggedRun(str(path), path.name.split(".")[0], columns)]


def numbers(values: list[str]) -> Floats:
    """Cells as numbers, NaN where a cell holds none."""
    out = np.full(len(values), np.nan)
    for index, value in enumerate(values):
        try:
            out[index] = float(value)
        except ValueError:
            continue
    return out
