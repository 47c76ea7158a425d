"""Running a flow from the command line: skipped where all is done, on one Prefect server, stopped cleanly."""

from __future__ import annotations

import contextlib
import importlib
import os
from collections.abc import Iterator
from pathlib import Path

from flows.cli.extras import require_study
from flows.cli.prefect_server import prefect_server
from tasks.records.run_state import run_state
from tasks.study.errors import InputError
from tasks.study.grid import expand_grid, find_run
from tasks.study.params import Params, load_params
from tasks.study.paths import STAGE_INPUTS, STAGES, StudyPaths
from tasks.study.status import stage_done


def run_stage(stage: str, params_file: Path) -> bool:
    """Runs a stage's flow, or `study` for all of them, unless its folders prove it done.

    Args:
        stage: one of `tasks.study.paths.STAGES`, or `study`.
        params_file: the study's params.

    Returns:
        Whether there was anything to do.

    Raises:
        InputError: the extra [study] is not installed, the params file is not valid, or an earlier stage has not been
            run.
    """
    require_study()
    params = load_params(params_file)
    expand_grid(params)
    if not unfinished_stages(params, STAGES if stage == "study" else (stage,)):
        print(f"{stage}: nothing to do")
        return False
    # A failure is told once, by the command line's own boundary, not again by every layer of Prefect.
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "CRITICAL")
    if stage != "study":
        _check_inputs(params, stage)
    with prefect_server() as address, _prefect_at(address):
        getattr(importlib.import_module(f"flows.{stage}"), stage)(params_file.absolute())
    return True


@contextlib.contextmanager
def _prefect_at(address: str) -> Iterator[None]:
    """Points Prefect at a server; it read the environment when it was imported, which may be long ago."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: address}):
        yield


def _check_inputs(params: Params, stage: str) -> None:
    for needed in STAGE_INPUTS[stage]:
        if not stage_done(params, needed):
            folder = StudyPaths.of(params).stage(needed)
            raise InputError(f"{folder}: the {needed} stage is not done; run `rlscale {needed}` first")


def unfinished_stages(params: Params, stages: tuple[str, ...] = STAGES) -> list[str]:
    """The stages that have something left to do."""
    return [stage for stage in stages if not stage_done(params, stage)]


def train_single_run(run_id: str, params_file: Path) -> None:
    """Trains one run, or says that it is done; needs no Prefect server.

    Raises:
        InputError: the extra [study] is not installed; no run, or more than one, has an id that begins so; or an
            earlier stage has not been run.
    """
    require_study()
    from tasks.runtime.progress import watch_runs
    from tasks.runtime.tracking.publishing import publishing
    from tasks.train.launch import RunLauncher
    from tasks.train.steps import train_run

    params = load_params(params_file)
    run = find_run(params, run_id)
    if run_state(params, run).finished:
        print(f"{run.run_id}: nothing to do")
        return
    _check_inputs(params, "train")
    with publishing(params), watch_runs(params, [run]), RunLauncher(params) as launcher:
        folder = train_run.fn(params, run, launcher)
    print(f"{run.run_id}: done, in {folder}")
