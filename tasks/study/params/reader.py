"""Reads a params file, and says in one sentence what is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tasks.study.errors import InputError
from tasks.study.params.params import Params

LOCAL_PATHS = ("path", "heldout_path", "pass_rates", "tokenizer")
"""Keys of the prepare block that may name local files."""
_PATHS_BY_BLOCK = {
    "prepare": LOCAL_PATHS,
    "pretrain": ("base", "instruct"),
    "hardware": ("python", "accelerate_config"),
}
"""Keys of each block that may name something in the params file's folder."""
EXECUTOR_VARIABLE = "RLSCALE_EXECUTOR"
"""Overrides `hardware.executor`: the same file runs on Slurm, on a Ray cluster and in one machine's container."""


def load_params(path: Path) -> Params:
    """Reads and checks a params file.

    Args:
        path: a YAML file.

    Returns:
        The params, with `study.data_root` made absolute, and so what lies in the file's folder of problem files, model
        folders, interpreter and accelerate config: relative paths count from the params file.

    Raises:
        InputError: no such file, no YAML, an unknown key, a wrong type or an impossible value.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such params file") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(raw, dict):
        raise InputError(f"{path}: expected a mapping of blocks (study, grid, prepare, ...)")
    return make_params(raw, path)


def make_params(raw: dict[str, Any], path: Path) -> Params:
    """Checks the values of a params file.

    Args:
        raw: the file's blocks, as YAML gives them.
        path: the file, written or not: messages name it, and `study.data_root` counts from its folder.

    Raises:
        InputError: an unknown key, a wrong type or an impossible value.
    """
    executor = os.environ.get(EXECUTOR_VARIABLE)
    if executor and isinstance(raw.get("hardware", {}), dict):
        raw = raw | {"hardware": raw.get("hardware", {}) | {"executor": executor}}
    raw = raw | {name: _beside(raw[name], path, keys) for name, keys in _PATHS_BY_BLOCK.items() if name in raw}
    try:
        params = Params.model_validate(_with_tuples(raw))
    except ValidationError as error:
        raise InputError(f"{path}: {_sentence(error)}") from None
    root = (path.absolute().parent / params.study.data_root).resolve()
    return params.model_copy(update={"study": params.study.model_copy(update={"data_root": str(root)})})


def _beside(block: Any, file: Path, keys: tuple[str, ...]) -> Any:
    """A block with what lies in the params file's folder by its absolute path, symbolic links as they are.

    A path within a hub repository stays, and so does a bare name of `hardware.python`, which is looked up in PATH.
    """
    if isinstance(block, list):
        return [_beside(entry, file, keys) for entry in block]
    if not isinstance(block, dict):
        return block
    out = {key: _beside(value, file, keys) for key, value in block.items()}
    for key in () if block.get("repository") else keys:
        value = out.get(key)
        if not isinstance(value, str) or (key == "python" and "/" not in value):
            continue
        if (found := Path(os.path.abspath(file.absolute().parent / value))).exists():
            out[key] = str(found)
    return out


def _with_tuples(value: Any) -> Any:
    """YAML has lists only; the strict models want tuples."""
    if isinstance(value, dict):
        return {key: _with_tuples(entry) for key, entry in value.items()}
    return tuple(_with_tuples(entry) for entry in value) if isinstance(value, list) else value


def _sentence(error: ValidationError) -> str:
    """The first problem of a validation error, as one sentence that names the key."""
    problem = error.errors()[0]
    tags = {"tiny", "hub", "arithmetic", "file"}
    key = ".".join(str(part) for part in problem["loc"] if part not in tags)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        return f"unknown key {key}"
    if problem["type"] == "missing":
        return f"key {key} is missing"
    value = "" if problem["type"] == "value_error" else f" (found {problem['input']!r})"
    return f"{key}: {message}{value}" if key else f"{message}{value}"
