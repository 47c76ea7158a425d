"""Progress of a run of the grid, read from its folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Literal

from tasks.records.metrics import StepMetrics, read_metrics
from tasks.records.stopping import read_stopped
from tasks.study.fingerprints import run_fingerprint
from tasks.study.grid import Run
from tasks.study.manifests import is_complete, is_locked
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

Progress = Literal["done", "stopped by forecast", "running", "stopped", "waiting"]
RATE_STEPS = 10
"""Newest steps whose median is a run's rate: the length of completions, and with it a step's time, drifts."""


@dataclass(frozen=True)
class RunState:
    """Progress of a run of the grid.

    Attributes:
        run: the run.
        progress: done; stopped by forecast (closed before its last step); running (its folder is locked by a live
            process); stopped (has steps, no process works on it); waiting (no steps yet).
        steps: steps whose row is on disk.
        first: the row before training, None where there is none.
        last: the newest row.
        step_seconds: seconds a step takes, the median of the newest ones; None before the first step.
    """

    run: Run
    progress: Progress
    steps: int
    first: StepMetrics | None
    last: StepMetrics | None
    step_seconds: float | None

    @property
    def seconds_left(self) -> float | None:
        """Seconds of work until its last step at the present rate; None where no process works on it."""
        if self.progress != "running" or self.step_seconds is None:
            return None
        return max(0, self.run.steps - self.steps) * self.step_seconds

    @property
    def finished(self) -> bool:
        """Whether its folder is closed: trained to its end, or stopped by forecast."""
        return self.progress in ("done", "stopped by forecast")


def run_state(params: Params, run: Run) -> RunState:
    """Reads a run's state from its folder."""
    paths = StudyPaths.of(params)
    rows = read_metrics(paths.metrics(run))
    last = rows[-1] if rows else None
    progress: Progress = "stopped" if rows else "waiting"
    if is_complete(paths.run(run), run_fingerprint(params, run)):
        progress = "stopped by forecast" if read_stopped(params, run) else "done"
    elif is_locked(paths.run(run)):
        progress = "running"
    seconds = [sum(row.seconds.values()) for row in rows if row.step > 0 and row.seconds][-RATE_STEPS:]
    step_seconds = median(seconds) if seconds else None
    return RunState(run, progress, last.step if last else 0, rows[0] if rows else None, last, step_seconds)
