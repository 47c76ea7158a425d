"""Seconds of a run's steps by phase, from its log: this program's `metrics.jsonl` and verl's `timing_s`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.costs.calibration import TimedRun
from tasks.costs.step_cost import Workload
from tasks.imports.formats import files_of, read_runs
from tasks.imports.logged_run import LoggedRun
from tasks.imports.model_size import size_of
from tasks.study.errors import InputError

_PHASES = {
    ("rollout",): (("seconds/rollout", "seconds/weights"), ("timing_s/gen", "timing_s/update_weights")),
    ("training",): (("timing_s/update_actor",),),
    ("old",): (("timing_s/old_log_prob",),),
    ("reference",): (("timing_s/ref",),),
    ("training", "old", "reference"): (("seconds/update",),),
}
"""Phases timed together -> alternatives, each the keys whose seconds add up, the first of which must be there."""


def timed_runs(sources: list[Path], gpus: int | None, size: str | None) -> list[TimedRun]:
    """The runs of logs with their seconds.

    Args:
        sources: logs, or folders of them.
        gpus: GPUs of each run; None: from the log.
        size: N of each run; None: from the log.

    Raises:
        InputError: a log without seconds, tokens, N or GPUs.
    """
    return [_timed(run, gpus, size) for path in files_of(sources) for run in read_runs(path) or ()] or _none(sources)


def _none(sources: list[Path]) -> list[TimedRun]:
    raise InputError(f"{sources[0]}: no run's log; expected metrics.jsonl or verl's log")


def _timed(run: LoggedRun, gpus: int | None, size: str | None) -> TimedRun:
    seconds = {}
    for phases, alternatives in _PHASES.items():
        for keys in alternatives:
            if (first := _typical(run, keys[0])) is not None:
                seconds[phases] = first + sum(_typical(run, key) or 0.0 for key in keys[1:])
    if not seconds:
        raise InputError(f"{run.source}: no seconds by phase; expected seconds/rollout or timing_s/gen")
    prompt = _typical(run, "prompt_length/mean")
    length = _typical(run, "response_length/mean")
    total = _typical(run, "perf/total_num_tokens")
    if prompt is None or length is None or total is None:
        prompts, written = _typical(run, "prompt_tokens"), _typical(run, "completion_tokens")
        length = _typical(run, "completion_length")
        if not prompts or not written or not length:
            raise InputError(f"{run.source}: no tokens of a step; expected completion_tokens or perf/total_num_tokens")
        total, prompt = prompts + written, prompts / (written / length)
    sequences = max(1, round(total / (prompt + length)))
    together = any(len(phases) > 1 for phases in seconds)
    work = Workload(
        sequences,
        1,
        prompt + length,
        eval_problems=0,
        reference=("reference",) in seconds or (together and _typical(run, "kl") is not None),
        old=("old",) in seconds or together,
        longest=_typical(run, "response_length/max"),
    )
    return TimedRun(run.source, _parameters(run, size), gpus or _gpus(run, total), work, seconds)


def _typical(run: LoggedRun, key: str) -> float | None:
    """Median of a column over the rows that have it, the first left out where there are more: it warms up."""
    values = run.columns.get(key, np.array([]))
    values = values[np.isfinite(values)]
    return float(np.median(values[1:] if len(values) > 1 else values)) if len(values) else None


def _parameters(run: LoggedRun, size: str | None) -> float:
    compute, tokens = run.columns.get("compute"), run.columns.get("tokens")
    if size is None and compute is not None and tokens is not None and tokens[-1] > 0:
        return float(compute[-1] / (6.0 * tokens[-1]))
    return size_of(run, size)[0]


def _gpus(run: LoggedRun, tokens: float) -> int:
    each = _typical(run, "global_seqlen/mean")
    if each is None:
        raise InputError(f"{run.source}: GPUs of the run are not known; give --calibrate-gpus")
    return max(1, round(tokens / each))
