"""Flow of the pretrain stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from flows.futures import thread_runner, wait_all
from tasks.pretrain.steps import collect_models, pretrain_model
from tasks.runtime.launcher import Launcher
from tasks.runtime.progress import watch_work_units
from tasks.study.grid import ModelName
from tasks.study.params import load_params
from tasks.study.status import model_names


@flow(name="pretrain")
def pretrain(params_file: Path) -> Path:
    """Makes or resolves every initial checkpoint, a base before its instruct, and returns the family's folder."""
    params = load_params(params_file)
    started: dict[str, PrefectFuture[Any]] = {}
    launcher = Launcher(params, "pretrain")
    # The launcher leaves first: closing it ends the workers, which frees the threads that wait for them.
    with watch_work_units(params, "pretrain"), thread_runner(launcher.slots) as runner, launcher:
        for name in model_names(params):
            base = [started[other] for other in (ModelName.parse(name).base,) if other in started]
            started[name] = runner.submit(
                pretrain_model, {"params": params, "name": name, "launcher": launcher}, wait_for=base
            )
        wait_all(started.values())
    return collect_models(params)
