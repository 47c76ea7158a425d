"""Prefect tasks of the pretrain stage."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import task

from tasks.pretrain.hub_models import resolve_hub_model
from tasks.records.models import ModelRecord
from tasks.runtime.executors import WorkOrder
from tasks.runtime.launcher import Launcher
from tasks.runtime.prefect_options import task_options
from tasks.study.errors import InputError
from tasks.study.fingerprints import model_fingerprint
from tasks.study.manifests import digest_text, manifest_digest, once, read_manifest
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.status import model_names, stage_fingerprint

TRAIN_TINY_TASK = "tasks.pretrain.tiny:train_tiny_job"


@task(
    name="pretrain_model",
    task_run_name="pretrain {name}",
    **task_options(
        "pretrain",
        lambda arguments: (
            StudyPaths.of(arguments["params"]).model(arguments["name"]),
            model_fingerprint(arguments["params"], arguments["name"]),
        ),
    ),
)
def pretrain_model(params: Params, name: str, launcher: Launcher) -> Path:
    """Makes one initial checkpoint: trained on a worker (miniature) or resolved from the hub; returns its folder."""
    if params.pretrain.family.kind == "tiny":
        order = WorkOrder(f"pretrain-{name}", StudyPaths.of(params).model(name))
        with launcher.lease(order) as worker:
            worker.run(TRAIN_TINY_TASK, {"params": params.model_dump_json(), "name": name})
    else:
        resolve_hub_model(params, name)
    return StudyPaths.of(params).model(name)


@task(name="collect_models", tags=["pretrain"])
def collect_models(params: Params) -> Path:
    """Writes the family's manifest; returns the stage's folder."""
    collect(params)
    return StudyPaths.of(params).stage("pretrain")


def collect(params: Params) -> dict[str, Any]:
    """Writes `data/pretrain/manifest.json` and returns it.

    Raises:
        InputError: a model of the family is missing.
    """
    paths = StudyPaths.of(params)

    def body() -> tuple[list[str], dict[str, Any]]:
        records = [asdict(_record(params, name)) for name in model_names(params)]
        content = digest_text("\n".join(str(record["digest"]) for record in records))
        return [], {"models": records, "content": content}

    return once(paths.stage("pretrain"), "pretrain", stage_fingerprint(params, "pretrain"), body)[0]


def _record(params: Params, name: str) -> ModelRecord:
    folder = StudyPaths.of(params).model(name)
    manifest = read_manifest(folder)
    if manifest is None:
        raise InputError(f"{folder}: the model is missing; run `rlscale pretrain` first")
    return ModelRecord(
        name=name,
        size=manifest["size"],
        variant=manifest["variant"],
        path=manifest.get("path", name),
        total=manifest["total"],
        n_params=manifest["n_params"],
        nominal=float(manifest["nominal"]),
        digest=manifest.get("digest", manifest_digest(folder)),
    )
