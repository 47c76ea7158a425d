"""Flow of the pretrain stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.futures import PrefectFuture

from flows.futures import finish, threads
from tasks.pretrain.steps import collect_models, pretrain_model
from tasks.runtime.progress import watch_pieces
from tasks.runtime.workers import stage_workers
from tasks.study.params import load_params
from tasks.study.status import model_names


@flow(name="pretrain")
def pretrain(params_file: Path) -> Path:
    """Makes or resolves every initial checkpoint, a base before its instruct, and returns the family's folder."""
    params = load_params(params_file)
    started: dict[str, PrefectFuture[Any]] = {}
    workers = stage_workers(params, "pretrain")
    # The workers leave first: closing them frees the threads that wait for them.
    with watch_pieces(params, "pretrain"), threads(workers.slots) as runner, workers:
        for name in model_names(params):
            base = [started[other] for other in (f"{name.rsplit('-', 1)[0]}-base",) if other in started]
            started[name] = runner.submit(
                pretrain_model, {"params": params, "name": name, "workers": workers}, wait_for=base
            )
        finish(started.values())
    return collect_models(params)
