"""Flow of the evaluate stage: one task per model size, so that one engine serves all checkpoints of an architecture."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.futures import thread_runner, wait_all
from tasks.evaluate.launch import EvaluationLauncher
from tasks.evaluate.steps import collect_scores, evaluate_size
from tasks.runtime.progress import watch_work_units
from tasks.study.grid import expand_grid
from tasks.study.params import load_params


@flow(name="evaluate")
def evaluate(params_file: Path) -> Path:
    """Scores every run's final policy on every benchmark and returns the stage's folder."""
    params = load_params(params_file)
    sizes, launcher = dict.fromkeys(run.size for run in expand_grid(params)), EvaluationLauncher(params)
    # The launcher leaves first: closing it ends the workers, which frees the threads that wait for them.
    with watch_work_units(params, "evaluate"), thread_runner(launcher.slots) as runner, launcher:
        wait_all(runner.submit(evaluate_size, {"params": params, "size": size, "launcher": launcher}) for size in sizes)
    return collect_scores(params)
