"""A params file made from another one by changing values: `rlscale study --set KEY=VALUE`, `rlscale design --write`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import yaml

from tasks.study.errors import InputError
from tasks.study.manifests import read_manifest, write_text
from tasks.study.params import Params, load_params, make_params
from tasks.study.paths import STAGES, StudyPaths


def write_overridden_params(params_file: Path, changes: list[str]) -> Path:
    """Writes the changed params beside the artefacts they describe.

    Args:
        params_file: the file to start from; it is not touched.
        changes: `dotted.key=value`, the value as YAML.

    Returns:
        Path of `<data root>/params.yaml`, checked.

    Raises:
        InputError: a change is not KEY=VALUE, names no key of the file, makes an impossible study, or would mix its
            results with those that another study has finished in the data root.
    """
    raw, target = _changed(params_file, changes)
    _refuse_mixing(make_params(raw, target), params_file, target)
    write_text(target, yaml.safe_dump(raw, sort_keys=False))
    return Path(os.path.relpath(target))


def write_design_params(params_file: Path, target: Path, entries: list[dict[str, Any]], steps: int) -> None:
    """Writes the params of a designed study: the scale axis has the designed runs alone, the other axes are left out.

    Args:
        params_file: the file to start from; it is not touched.
        target: the file to write; its study and data root are named after it.
        entries: of `grid.runs`.
        steps: `train.steps`, for which the curriculum is cut.

    Raises:
        InputError: the file to start from is not valid, or the design is impossible with it.
    """
    load_params(params_file)
    if target.absolute() == params_file.absolute():
        raise InputError(f"--write {target}: would overwrite the params file it starts from")
    raw = yaml.safe_load(params_file.read_text(encoding="utf-8"))
    name = re.sub(r"[^A-Za-z0-9_.]", "_", target.name.removesuffix(target.suffix).removeprefix("params."))
    raw["study"] |= {"name": name, "data_root": f"data-{name}"}
    raw["train"]["steps"] = steps
    raw["grid"] = {
        "sizes": list(dict.fromkeys(entry["size"] for entry in entries)),
        "variants": list(dict.fromkeys(entry["variant"] for entry in entries)),
        "seeds": [0],
        "runs": entries,
    }
    make_params(raw, target)
    write_text(target, yaml.safe_dump(raw, sort_keys=False))


def preview(params_file: Path, changes: list[str]) -> Params:
    """The params that `write_overridden_params` would write, without writing them; raises as it does."""
    return make_params(*_changed(params_file, changes))


def _refuse_mixing(changed: Params, params_file: Path, target: Path) -> None:
    """A data root with finished work belongs to the study that made it, or to an earlier call with these changes."""
    finished = [stage for stage in STAGES if read_manifest(StudyPaths.of(changed).stage(stage)) is not None]
    owners = [path for path in (params_file, target) if path.is_file()]
    if finished and _results(changed) not in [_results(load_params(path)) for path in owners]:
        raise InputError(
            f"--set changes what study {changed.study.name} computes, and {changed.root} holds its finished work "
            f"({', '.join(finished)}): add --set study.data_root=FOLDER for a study of its own, or edit {params_file} "
            "and run it without --set to go on in this one"
        )


def _results(params: Params) -> dict[str, Any]:
    """The params that decide results."""
    return params.model_dump(mode="json", exclude={"study", "hardware", "tracking", "checkpoints", "report"})


def _changed(params_file: Path, changes: list[str]) -> tuple[dict[str, Any], Path]:
    """The changed values, their data root being the folder of the file they belong in, and that file's path."""
    load_params(params_file)
    raw = yaml.safe_load(params_file.read_text(encoding="utf-8"))
    for change in changes:
        _apply(raw, change)
    root = (params_file.absolute().parent / raw["study"]["data_root"]).resolve()
    raw["study"]["data_root"] = "."
    return raw, root / "params.yaml"


def _apply(raw: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    *path, last = key.split(".")
    block: Any = raw
    for part in path:
        block = block.get(part) if isinstance(block, dict) else None
    if not equals or not isinstance(block, dict):
        raise InputError(f"--set {change}: expected KEY=VALUE with a dotted key of the params file")
    block[last] = yaml.safe_load(text)
