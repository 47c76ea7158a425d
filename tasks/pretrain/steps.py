"""Prefect tasks of the pretrain stage."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from tasks.identity import model_mark
from tasks.layout import Layout
from tasks.orchestration import options
from tasks.params import Params
from tasks.pretrain.collect import collect
from tasks.pretrain.hub import resolve_hub_model
from tasks.workers import WorkerPool

TINY_JOB = "tasks.pretrain.tiny:job"


@task(
    name="pretrain_model",
    task_run_name="pretrain {name}",
    **options(
        "pretrain",
        lambda given: (Layout.of(given["params"]).model(given["name"]), model_mark(given["params"], given["name"])),
    ),
)
def pretrain_model(params: Params, name: str, workers: WorkerPool) -> Path:
    """Makes one initial checkpoint: trained on a worker (miniature) or resolved from the hub; returns its folder."""
    if params.pretrain.family.kind == "tiny":
        workers.run(TINY_JOB, params=params.model_dump_json(), name=name)
    else:
        resolve_hub_model(params, name)
    return Layout.of(params).model(name)


@task(name="collect_models", tags=["pretrain"])
def collect_models(params: Params) -> Path:
    """Writes the family's manifest; returns the stage's folder."""
    collect(params)
    return Layout.of(params).stage("pretrain")
