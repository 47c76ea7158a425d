"""The pretrain stage's own manifest: the model family with exact parameter counts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from tasks.errors import InputError
from tasks.layout import Layout
from tasks.params import Params
from tasks.records import ModelRecord
from tasks.state import model_names, stage_mark
from tasks.store import digest_text, manifest_digest, once, read_manifest


def collect(params: Params) -> dict[str, Any]:
    """Writes `data/pretrain/manifest.json` and returns it.

    Raises:
        InputError: a model of the family is missing.
    """
    layout = Layout.of(params)

    def body() -> tuple[list[str], dict[str, Any]]:
        records = [asdict(_record(params, name)) for name in model_names(params)]
        content = digest_text("\n".join(str(record["digest"]) for record in records))
        return [], {"models": records, "content": content}

    return once(layout.stage("pretrain"), "pretrain", stage_mark(params, "pretrain"), body)[0]


def _record(params: Params, name: str) -> ModelRecord:
    folder = Layout.of(params).model(name)
    manifest = read_manifest(folder)
    if manifest is None:
        raise InputError(f"{folder}: the model is not there; run `rlscale pretrain` first")
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
