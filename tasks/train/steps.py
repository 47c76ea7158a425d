"""Prefect tasks of the train stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.records.stopping import STOPPED, StoppedRun
from tasks.runtime.prefect_options import is_transient, task_options
from tasks.study.errors import InputError
from tasks.study.fingerprints import run_fingerprint
from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import digest_text, once, read_manifest
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.status import stage_fingerprint
from tasks.train.launch import RunLauncher, train_once, train_until


@task(
    name="train_run",
    task_run_name="train {run.run_id}",
    **task_options(
        "train",
        lambda arguments: (
            StudyPaths.of(arguments["params"]).run(arguments["run"]),
            run_fingerprint(arguments["params"], arguments["run"]),
        ),
        retries=0,  # the launcher's own: it knows whether a run gets on
    ),
)
def train_run(params: Params, run: Run, launcher: RunLauncher) -> Path:
    """Trains one run of the grid, once; returns its folder."""
    train_once(params, run, launcher)
    return StudyPaths.of(params).run(run)


@task(
    name="train_segment",
    task_run_name="train {run.run_id} until step {step}",
    tags=["train"],
    retries=2,
    retry_delay_seconds=[2.0, 4.0],
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
)
def train_segment(params: Params, run: Run, launcher: RunLauncher, step: int) -> None:
    """Trains one run until a step, at which it waits for those it is compared with."""
    train_until(params, run, launcher, step)


@task(
    name="stop_run",
    task_run_name="stop {run.run_id}",
    tags=["train"],
    retries=2,
    retry_delay_seconds=[2.0, 4.0],
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
)
def stop_run(params: Params, run: Run, launcher: RunLauncher, stop: StoppedRun) -> Path:
    """Closes a run that was stopped by forecast where it stands; returns its folder."""
    train_once(params, run, launcher, stop)
    return StudyPaths.of(params).run(run)


@task(name="collect_runs", tags=["train"])
def collect_runs(params: Params) -> Path:
    """Writes the stage's manifest from the runs' own; returns the stage's folder."""
    collect(params)
    return StudyPaths.of(params).stage("train")


MANIFEST_KEYS = (
    "run_id",
    "size",
    "variant",
    "seed",
    "tau",
    "group_size",
    "n_params",
    "nominal",
    "steps",
    "test_loss",
    "compute",
)


def collect(params: Params) -> dict[str, Any]:
    """Writes `data/train/manifest.json` and returns it.

    Raises:
        InputError: a run of the grid has not finished.
    """
    paths = StudyPaths.of(params)

    def body() -> tuple[list[str], dict[str, Any]]:
        manifests = []
        for run in expand_grid(params):
            manifest = read_manifest(paths.run(run))
            if manifest is None:
                raise InputError(f"{paths.run(run)}: the run has not finished; run `rlscale train` first")
            manifests.append(manifest)
        content = digest_text("\n".join(str(manifest["content"]) for manifest in manifests))
        return [], {
            "runs": [
                {key: manifest[key] for key in (*MANIFEST_KEYS, STOPPED) if key != STOPPED or key in manifest}
                for manifest in manifests
            ],
            "content": content,
        }

    return once(paths.stage("train"), "train", stage_fingerprint(params, "train"), body)[0]
