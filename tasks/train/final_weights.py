"""The final policy as a transformers checkpoint, written by all processes: one of several files each.

Difference from `save_pretrained`: no process ever holds the whole model. Tensors are gathered one after another on all
processes; the file that a tensor belongs to has an owner, which keeps it in its host's memory, and all write at the
end, side by side. A model that fits into one file is written by rank 0.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig

from tasks.study.manifests import atomic_path, write_json
from tasks.train.checkpoints import RankGroup
from tasks.train.lora import base_name, is_adapter
from tasks.train.sharded_files import INDEX, ShardedSafetensors

FILE_BYTES = 5 * 10**9
"""Bytes of weights in a file at most."""

Tensors = Mapping[str, torch.Tensor]


def write_pretrained(
    folder: Path,
    model: Any,
    weights: Iterable[tuple[str, torch.Tensor]],
    dtype: torch.dtype,
    ranks: RankGroup,
    file_bytes: int = FILE_BYTES,
) -> None:
    """Writes config and weights, reads them back and compares; every process calls it and goes through all weights.

    Args:
        folder: replaced by what is written.
        model: the transformers model, perhaps sharded or with adapters.
        weights: whole tensors by name.
        dtype: of the weights.
        ranks: the processes.
        file_bytes: bytes of weights in a file at most.

    Raises:
        RuntimeError: a process could not write its part, or it does not read as it was.
    """
    shapes = _shapes(model, dtype)
    files = split_torch_state_dict_into_shards(shapes, max_shard_size=file_bytes)
    names = list(files.filename_to_tensors)
    own: dict[str, dict[str, torch.Tensor]] = {name: {} for name in names[ranks.rank :: ranks.world_size]}
    for name, tensor in weights:
        part = own.get(files.tensor_to_filename.get(name, ""))
        if part is not None:
            part[name] = tensor.detach().to("cpu", copy=True).contiguous()

    def write_config() -> None:
        shutil.rmtree(folder, ignore_errors=True)  # files of another number of processes
        folder.mkdir(parents=True)
        _save_config(folder, model)
        if files.is_sharded:
            write_json(folder / INDEX, {"metadata": files.metadata, "weight_map": files.tensor_to_filename})

    def write_own() -> None:
        for name, part in own.items():
            _write_file(folder / name, part)

    ranks.do_together(lambda: write_config() if ranks.rank == 0 else None)
    ranks.do_together(write_own)
    ranks.do_together(lambda: _require_loadable(folder, shapes) if ranks.rank == 0 else None)


def _shapes(model: Any, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint of the model, tied ones once, as tensors that take no memory."""
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    state = {base_name(key): value for key, value in model.state_dict().items() if not is_adapter(key)}
    return {
        name: torch.empty(value.shape, dtype=dtype, device="meta") for name, value in state.items() if name not in tied
    }


def _save_config(folder: Path, model: Any) -> None:
    """What `save_pretrained` writes beside the weights."""
    model.config.architectures = [type(model).__name__]
    model.config.dtype = str(model.dtype).removeprefix("torch.")
    model.config.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)


def _write_file(path: Path, tensors: Tensors) -> None:
    """Writes a file atomically and reads it back."""
    with atomic_path(path) as temporary:
        save_file(dict(tensors), temporary, metadata={"format": "pt"})
    with safe_open(path, framework="pt") as file:
        different = [name for name, tensor in tensors.items() if not torch.equal(file.get_tensor(name), tensor)]
    if different:
        raise OSError(f"{path}: {different[0]} does not read as it was written")


def _require_loadable(folder: Path, shapes: Tensors) -> None:
    """Checks that config and index lead to every weight.

    Raises:
        InputError: a file of the index is missing.
        OSError: a weight is missing or has another shape.
    """
    AutoConfig.from_pretrained(folder, local_files_only=True)
    found = ShardedSafetensors.of_checkpoint(folder).shapes()
    expected = {name: tuple(tensor.shape) for name, tensor in shapes.items()}
    if found != expected:
        raise OSError(f"{folder}: weights {sorted(found.items() ^ expected.items())[:2]} differ from the model's")
