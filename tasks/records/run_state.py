"""Progress of a run of the grid, read from its folder alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from tasks.records.metrics import StepMetrics, read_metrics
from tasks.records.stopping import read_stopped
from tasks.study.fingerprints import run_fingerprint
from tasks.study.grid import Run
from tasks.study.manifests import is_complete, is_locked
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

Progress = Literal["done", "stopped by forecast", "running", "stopped", "waiting"]


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
    """

    run: Run
    progress: Progress
    steps: int
    first: StepMetrics | None
    last: StepMetrics | None

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
    return RunState(run, progress, last.step if last else 0, rows[0] if rows else None, last)
