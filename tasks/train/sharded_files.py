"""Tensors that lie in several safetensors files, read a range of rows at a time.

Two layouts are one here: a transformers checkpoint keeps each tensor whole in one of its files, a sharded training
checkpoint cuts every tensor along its first dimension, one file per process. A reader asks for rows and need
not know how many processes wrote them, so a checkpoint written by eight processes resumes on four.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open

from tasks.study.errors import InputError

INDEX = "model.safetensors.index.json"


class ShardedSafetensors:
    """Safetensors files read as one set of tensors; each open file is a memory map."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Opens files; a tensor that several of them hold is their concatenation, in the order of `files`."""
        self._files = [safe_open(file, framework="pt") for file in files]
        self._file_indices: dict[str, list[int]] = {}
        for index, file in enumerate(self._files):
            for name in file.keys():  # noqa: SIM118 (safe_open is no mapping)
                self._file_indices.setdefault(name, []).append(index)

    @classmethod
    def of_checkpoint(cls, folder: Path) -> ShardedSafetensors:
        """The weights of a transformers checkpoint, in one file or in several with an index.

        Raises:
            InputError: the folder holds no safetensors weights.
        """
        index = folder / INDEX
        if index.is_file():
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        else:
            names = ["model.safetensors"]
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise InputError(f"{folder}: {missing[0]} is missing; the checkpoint is not whole")
        return cls([folder / name for name in names])

    def names(self) -> list[str]:
        """Names of all tensors."""
        return list(self._file_indices)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor; of one that several files hold, in the first of them."""
        return {name: tuple(self._files[at[0]].get_slice(name).get_shape()) for name, at in self._file_indices.items()}

    def full(self, name: str) -> torch.Tensor:
        """A whole tensor. Raises as `rows`."""
        return self.rows(name, 0, None)

    def rows(self, name: str, start: int, stop: int | None) -> torch.Tensor:
        """Rows start..stop-1 of a tensor (None: to its end); a tensor without dimensions is returned as it is.

        Raises:
            InputError: there is no such tensor.
        """
        if name not in self._file_indices:
            raise InputError(f"the checkpoint has no tensor {name}; it is of another architecture")
        parts, offset = [], 0
        for index in self._file_indices[name]:
            part = self._files[index].get_slice(name)
            shape = part.get_shape()
            if not shape:
                return self._files[index].get_tensor(name)
            low, high = max(0, start - offset), min(shape[0], (offset + shape[0] if stop is None else stop) - offset)
            if low < high:
                parts.append(part[low:high])
            offset += shape[0]
        return parts[0] if len(parts) == 1 else self._joined(name, parts)

    def _joined(self, name: str, parts: list[torch.Tensor]) -> torch.Tensor:
        if parts:
            return torch.cat(parts)
        return self._files[self._file_indices[name][0]].get_slice(name)[0:0]
