"""Flow of the train stage: one task per cell of the grid."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.futures import thread_runner, wait_all
from tasks.runtime.progress import watch_runs
from tasks.runtime.tracking.publishing import publishing
from tasks.study.grid import expand_grid, longest_first
from tasks.study.params import load_params
from tasks.train.launch import RunLauncher
from tasks.train.steps import collect_runs, train_run


@flow(name="train")
def train(params_file: Path) -> Path:
    """Trains every run of the grid, as many at a time as the machine has slots, and returns the stage's folder."""
    params = load_params(params_file)
    runs, launcher = expand_grid(params), RunLauncher(params)
    # The launcher leaves first: closing it ends the workers, which frees the threads that wait for them.
    with publishing(params), watch_runs(params, runs), thread_runner(launcher.slots) as runner, launcher:
        cells = ({"params": params, "run": run, "launcher": launcher} for run in longest_first(params, runs))
        wait_all(runner.submit(train_run, cell) for cell in cells)
    return collect_runs(params)
