"""Logged runs as points of a scaling law: the columns of the study's own points, and `source`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tasks.costs.units import short_count
from tasks.imports.logged_run import Floats, LoggedRun
from tasks.imports.metric_choice import Scale, as_loss, choose_metric
from tasks.imports.model_size import size_of
from tasks.imports.resources import resources_of, updates_made
from tasks.study.errors import InputError

COLUMNS = (
    "run_id",
    "variant",
    "size",
    "n_params",
    "seed",
    "tau",
    "group_size",
    "step",
    "data",
    "tokens",
    "compute",
    "test_loss",
    "trials",
    "source",
)
AXES = ("seed", "tau", "group_size")
TRIALS_KEYS = ("test_trials", "trials", "num_problems", "n_problems")


@dataclass(frozen=True)
class ImportOptions:
    """What the user says of a log; None: from the log.

    Attributes:
        metric: key of the test metric.
        scale: how it becomes a share.
        size: N of all runs, as text.
        size_from: name, path or column.
        batch: prompts a step.
        completions: completions a prompt.
        trials: graded answers behind each value.
        every: keep the evaluations at multiples of so many steps.
        keep: which of repeated steps counts: last or first.
    """

    metric: str | None = None
    scale: Scale = field(default_factory=Scale)
    size: str | None = None
    size_from: str | None = None
    batch: int | None = None
    completions: int | None = None
    trials: int | None = None
    every: int = 1
    keep: str = "last"


@dataclass(frozen=True)
class ImportedPoints:
    """Points and what was taken for what.

    Attributes:
        columns: name -> values, of `COLUMNS` those that any run has, equal lengths [P].
        notes: sentences for the user.
    """

    columns: dict[str, list[Any]]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.columns["run_id"])


def points_of(runs: Sequence[LoggedRun], options: ImportOptions) -> ImportedPoints:
    """Turns runs into points.

    Raises:
        InputError: a question that only the user can answer, with the candidates; or a run without points.
    """
    metric = choose_metric(runs, options.metric)
    names = _distinct_names(runs)
    parts, notes, skipped = [], [], []
    for run, name in zip(runs, names, strict=True):
        if metric not in run.columns or not np.isfinite(run.columns[metric]).any():
            skipped.append(name)
            continue
        part, said = _run_points(run, name, metric, options)
        parts.append(part)
        notes.append(said)
    if skipped:
        notes.append(f"{len(skipped)} of {len(runs)} runs have no {metric} and are left out: {', '.join(skipped[:10])}")
    columns = {key: [value for part in parts for value in part[key]] for key in COLUMNS}
    empty = [key for key, values in columns.items() if all(value is None for value in values)]
    if not {"data", "compute"} - set(empty):
        notes.append("neither prompts nor tokens are known: X is the step; --batch turns steps into prompts")
    return ImportedPoints({key: values for key, values in columns.items() if key not in empty}, notes)


def _distinct_names(runs: Sequence[LoggedRun]) -> list[str]:
    """Names of runs; equal ones get what tells their paths apart in front."""
    by_name: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        by_name.setdefault(run.name, []).append(index)
    names = [run.name for run in runs]
    for name, indices in by_name.items():
        parts = [Path(runs[index].source).parts for index in indices]
        while len(indices) > 1 and all(part and part[0] == parts[0][0] for part in parts):
            parts = [part[1:] for part in parts]
        while len(indices) > 1 and all(part and part[-1] == parts[0][-1] for part in parts):
            parts = [part[:-1] for part in parts]
        for number, (index, part) in enumerate(zip(indices, parts, strict=True), start=1):
            if len(indices) > 1:
                names[index] = f"{'/'.join(part) or number}/{name}"
    return names


def _run_points(run: LoggedRun, name: str, metric: str, options: ImportOptions) -> tuple[dict[str, list[Any]], str]:
    where = f"{run.source}: run {name}"
    n, size_words = size_of(run, options.size, options.size_from)
    step, step_words = updates_made(run)
    resources = resources_of(run, step, n, options.batch, options.completions)
    loss, loss_words = as_loss(metric, run.columns[metric], options.scale, where)
    rows = np.flatnonzero(np.isfinite(loss))
    kept = _once_per_step(step, rows, options.keep)
    repeated = len(rows) - len(kept)
    kept = kept[step[kept] % options.every == 0]
    if not len(kept):
        raise InputError(f"{where}: no value of {metric} at a multiple of {options.every} steps (--every)")
    words = [f"N = {short_count(n)} ({size_words})", f"loss = {loss_words}", step_words, *resources.notes]
    if repeated:
        words.append(f"{repeated} repeated steps, the {options.keep} counts")
    words.append(f"{len(run) - len(rows)} of {len(run)} rows without the metric")
    trials = _trials(run, options.trials)[kept]
    zero = np.isfinite(trials) & (loss[kept] == 0)
    if zero.any():
        words.append(f"{zero.sum()} losses of 0 become 0.5 / (trials + 1)")
    columns: dict[str, list[Any]] = {
        "run_id": [name] * len(kept),
        "variant": [run.settings.get("variant")] * len(kept),
        "size": [run.settings.get("size", short_count(n))] * len(kept),
        "n_params": [n] * len(kept),
        **{key: [_whole_setting(run, key)] * len(kept) for key in AXES},
        "step": _whole(step[kept]),
        "data": _at(resources.data, kept),
        "tokens": _at(resources.tokens, kept),
        "compute": _at(resources.compute, kept),
        "test_loss": np.where(zero, 0.5 / (np.nan_to_num(trials) + 1.0), loss[kept]).tolist(),
        "trials": [None if np.isnan(value) else int(value) for value in trials],
        "source": [run.source] * len(kept),
    }
    return columns, f"{name}: {len(kept)} points, steps {step[kept[0]]:g}-{step[kept[-1]]:g}; {'; '.join(words)}"


def _trials(run: LoggedRun, given: int | None) -> Floats:
    """Graded answers behind each row: as given, else as logged, else NaN."""
    logged = next((run.columns[key] for key in TRIALS_KEYS if key in run.columns), np.full(len(run), np.nan))
    return logged if given is None else np.full(len(run), float(given))


def _whole_setting(run: LoggedRun, key: str) -> int | None:
    text = run.settings.get(key, "")
    return int(text) if text.isdigit() else None


def _once_per_step(step: Floats, rows: np.ndarray, keep: str) -> np.ndarray:
    """Of the rows of each step the last or the first one, in the order of steps."""
    order = rows if keep == "first" else rows[::-1]
    _, first = np.unique(step[order], return_index=True)
    return np.asarray(order[first])


def _whole(step: Floats) -> list[float]:
    return [int(value) if value == int(value) else float(value) for value in step]


def _at(column: Floats | None, rows: np.ndarray) -> list[float | None]:
    return [None] * len(rows) if column is None else column[rows].tolist()
