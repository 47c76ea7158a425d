"""Prefect tasks of the train stage."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from tasks.grid import Run
from tasks.identity import run_mark
from tasks.layout import Layout
from tasks.orchestration import options
from tasks.params import Params
from tasks.train.collect import collect
from tasks.train.launch import Launcher, train_once


@task(
    name="train_run",
    task_run_name="train {run.run_id}",
    **options(
        "train", lambda given: (Layout.of(given["params"]).run(given["run"]), run_mark(given["params"], given["run"]))
    ),
)
def train_run(params: Params, run: Run, launcher: Launcher) -> Path:
    """Trains one cell of the grid, once; returns its folder."""
    train_once(params, run, launcher)
    return Layout.of(params).run(run)


@task(name="collect_runs", tags=["train"])
def collect_runs(params: Params) -> Path:
    """Writes the stage's manifest from the runs' own; returns the stage's folder."""
    collect(params)
    return Layout.of(params).stage("train")
