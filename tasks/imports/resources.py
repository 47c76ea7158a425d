"""Steps and what they cost: prompts, tokens and compute (C = 6 N T) from what a log says of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.imports.logged_run import Floats, LoggedRun
from tasks.study.errors import InputError

STEP_KEYS = (
    "step",
    "_step",
    "Step",
    "global_step",
    "trainer/global_step",
    "train/global_step",
    "training/global_step",
    "progress/batch",
    "checkpoint_step",
    "iteration",
    "update",
)
TOKENS_SO_FAR = (
    "tokens",
    "num_tokens",
    "train/num_tokens",
    "total_tokens",
    "progress/total_tokens",
    "cumulative_tokens",
    "num_input_tokens_seen",
)
TOKENS_PER_STEP = ("perf/total_num_tokens",)
PROMPTS_SO_FAR = ("data", "prompts_seen", "progress/total_tasks", "progress/total_problems")
COMPUTE_SO_FAR = ("compute", "cumulative_flops", "total_flops")
_TRAINING = (
    "actor/",
    "critic/",
    "train/",
    "optim",
    "grad_norm",
    "learning_rate",
    "perf/",
    "timing_s/",
    "response_length",
)


@dataclass(frozen=True)
class Resources:
    """What a run's rows cost, after the step of each row; None: not known from the log.

    Attributes:
        step: updates made so far [R].
        data: prompts so far [R].
        tokens: prompt and completion tokens so far [R].
        compute: FLOPs so far [R].
        notes: how each was obtained.
    """

    step: Floats
    data: Floats | None
    tokens: Floats | None
    compute: Floats | None
    notes: tuple[str, ...]


def updates_made(run: LoggedRun) -> tuple[Floats, str]:
    """The number of updates behind each row, and in words how it is counted.

    A log whose step 0 holds training values counts from 0: its rows move up by one, but for an evaluation before
    training in a row of its own (verl's older versions write step 0 twice).

    Raises:
        InputError: no step key, or a row without a step.
    """
    key = next((key for key in STEP_KEYS if key in run.columns), None)
    if key is None:
        raise InputError(f"{run.source}: run {run.name}: no step: none of {', '.join(STEP_KEYS)}")
    step = run.columns[key].copy()
    if np.isnan(step).any():
        step = _filled_down(step)
    if np.nanmin(step) != 0:
        return step, f"steps counted from 1 ({key})"
    training = np.zeros(len(step), dtype=bool)
    for name, column in run.columns.items():
        if name.startswith(_TRAINING) and name not in STEP_KEYS:
            training |= np.isfinite(column)
    if not (training & (step == 0)).any():
        return step, f"step 0 is before training ({key})"
    before = (step == 0) & ~training
    step[~before] += 1
    return step, f"steps counted from 0, moved up by one ({key})"


def _filled_down(step: Floats) -> Floats:
    """A row without a step belongs to the last one that has one."""
    rows = np.where(np.isfinite(step), np.arange(len(step)), -1)
    last = np.maximum.accumulate(rows)
    filled = np.where(last >= 0, step[np.maximum(last, 0)], 0.0)
    return np.asarray(filled, dtype=np.float64)


def resources_of(run: LoggedRun, step: Floats, n: float, batch: int | None, completions: int | None) -> Resources:
    """Prompts, tokens and compute after each row.

    Args:
        run: the run.
        step: updates made by each row [R].
        n: model size N, parameters.
        batch: prompts a step (`--batch`); None: as the log says.
        completions: completions a prompt (`--completions`); None: as the log says.
    """
    notes: list[str] = []
    batch = batch or _setting(run, "batch")
    completions = completions or _setting(run, "completions")
    data = _so_far(run, PROMPTS_SO_FAR, notes, "data")
    if data is None and batch is not None:
        data = step * batch
        notes.append(f"data = step x {batch} prompts")
    tokens = _so_far(run, TOKENS_SO_FAR, notes, "tokens")
    if tokens is None:
        tokens = _summed_tokens(run, step, batch, completions, notes)
    compute = _so_far(run, COMPUTE_SO_FAR, notes, "compute")
    if compute is None and tokens is not None:
        compute = 6.0 * n * tokens
        notes.append("compute = 6 N tokens")
    return Resources(step, data, tokens, compute, tuple(notes))


def _setting(run: LoggedRun, name: str) -> int | None:
    text = run.settings.get(name, "")
    return int(text) if text.isdigit() else None


def _so_far(run: LoggedRun, keys: tuple[str, ...], notes: list[str], name: str) -> Floats | None:
    """A cumulative column; gaps take the last value before them, 0 at the start."""
    key = next((key for key in keys if key in run.columns and (run.columns[key] > 0).any()), None)
    if key is None:
        return None
    if key != name:
        notes.append(f"{name} = {key}")
    column = run.columns[key]
    rows = np.maximum.accumulate(np.where(np.isfinite(column), np.arange(len(column)), -1))
    return np.where(rows >= 0, np.nan_to_num(column[np.maximum(rows, 0)]), 0.0)


def _summed_tokens(
    run: LoggedRun, step: Floats, batch: int | None, completions: int | None, notes: list[str]
) -> Floats | None:
    """Tokens of each step, summed up to each row; a step that lacks them counts as the mean of the others."""
    key = next((key for key in TOKENS_PER_STEP if key in run.columns), None)
    if key is not None:
        per_row, words = run.columns[key], f"tokens = sum of {key}"
    elif {"prompt_length/mean", "response_length/mean"} <= set(run.columns) and batch and completions:
        lengths = run.columns["prompt_length/mean"] + run.columns["response_length/mean"]
        per_row, words = lengths * batch * completions, "tokens = sum of mean lengths x batch x completions"
    else:
        return None
    by_step = {int(s): float(value) for s, value in zip(step, per_row, strict=True) if np.isfinite(value)}
    if not by_step:
        return None
    last = int(np.nanmax(step))
    mean = sum(by_step.values()) / len(by_step)
    known = np.array([by_step.get(s, mean) for s in range(1, last + 1)])
    missing = sum(s not in by_step for s in range(1, last + 1))
    notes.append(words + (f" ({missing} of {last} steps lack it and count as the mean)" if missing else ""))
    return np.concatenate([[0.0], np.cumsum(known)])[step.astype(int)]
