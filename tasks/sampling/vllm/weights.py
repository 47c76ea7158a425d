"""Checkpoints as named tensors, and a memory-backed folder that hands weights to another process."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tasks.study.errors import InputError

PREFIX = "rlscale-weights-"
SHARED_MEMORY = Path("/dev/shm")


def read_config(checkpoint: Path) -> dict[str, Any]:
    """Reads a checkpoint's `config.json`.

    Raises:
        InputError: there is no checkpoint.
    """
    try:
        return json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{checkpoint}: no checkpoint (config.json is missing)") from None


def stored_tensors(checkpoint: Path) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields the tensors of a checkpoint's safetensors files, one at a time.

    Raises:
        InputError: there are none.
    """
    files = sorted(checkpoint.glob("*.safetensors"))
    if not files:
        raise InputError(f"{checkpoint}: no safetensors file")
    for path in files:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118 (not a mapping)
                yield name, file.get_tensor(name)


def stored_shapes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    """Shapes of a checkpoint's tensors by name, without reading them.

    Raises:
        InputError: there is no safetensors file.
    """
    files = sorted(checkpoint.glob("*.safetensors"))
    if not files:
        raise InputError(f"{checkpoint}: no safetensors file")
    shapes: dict[str, tuple[int, ...]] = {}
    for path in files:
        with safe_open(path, framework="pt") as file:
            shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return shapes


def state_dict(checkpoint: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Reads all weights; a tied output layer appears under its own name too, as in a transformers state dict."""
    tensors = {name: tensor.to(dtype) for name, tensor in stored_tensors(checkpoint)}
    if read_config(checkpoint).get("tie_word_embeddings") and "lm_head.weight" not in tensors:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    return tensors


def make_staging_dir() -> Path:
    """Makes a folder in memory (in the temporary folder where there is no shared memory).

    Folders left by processes that no longer live are removed on the way.
    """
    root = SHARED_MEMORY if os.access(SHARED_MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    for old in root.glob(f"{PREFIX}*"):
        owner = old.name.removeprefix(PREFIX).split("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(old, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=root))


def write_staging_dir(stage: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Writes weights as the stage's only safetensors file, replacing the previous ones in one rename.

    Raises:
        OSError: the memory is full; the message says how much was needed.
    """
    needed = sum(tensor.numel() * tensor.element_size() for tensor in weights.values())
    free = shutil.disk_usage(stage).free
    if needed > free:
        raise OSError(f"{stage}: {needed} bytes of weights do not fit into {free} bytes free")
    temporary = stage / "incoming.tmp"
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, temporary, metadata={"format": "pt"})
    os.replace(temporary, stage / "model.safetensors")
