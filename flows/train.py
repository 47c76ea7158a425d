"""Flow of the train stage: one task per cell of the grid."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.futures import thread_runner, wait_all
from tasks.costs.disk import require_disk, study_disk
from tasks.fit.design.stopping import dominated_runs, runs_to_mark, stopping_marks
from tasks.runtime.progress import watch_runs
from tasks.runtime.tracking.publishing import publishing
from tasks.study.grid import expand_grid, longest_first
from tasks.study.params import load_params
from tasks.study.paths import StudyPaths
from tasks.train.launch import RunLauncher
from tasks.train.steps import collect_runs, stop_run, train_run, train_segment


@flow(name="train")
def train(params_file: Path) -> Path:
    """Trains every run of the grid, as many at a time as the machine has slots, and returns the stage's folder.

    With `train.stopping`, runs that are compared train in step: each pauses at every mark until the others are there.
    """
    params = load_params(params_file)
    runs, launcher = expand_grid(params), RunLauncher(params)
    require_disk(StudyPaths.of(params).stage("train"), study_disk(params, launcher.slots).peak, "training the grid")
    # The launcher leaves first: closing it ends the workers, which frees the threads that wait for them.
    with publishing(params), watch_runs(params, runs), thread_runner(launcher.slots) as runner, launcher:
        work = {"params": params, "launcher": launcher}
        for mark in stopping_marks(params):
            segments = runs_to_mark(params, mark)
            wait_all(runner.submit(train_segment, work | {"run": run, "step": step}) for run, step in segments)
            dominated = dominated_runs(params, mark)
            wait_all(runner.submit(stop_run, work | {"run": run, "stop": stop}) for run, stop in dominated)
        wait_all(runner.submit(train_run, work | {"run": run}) for run in longest_first(params, runs))
    return collect_runs(params)
