"""What vLLM's workers read weights from: a folder in memory, or a large checkpoint itself.

A small model, or one whose heads have to be padded, is written to a memory-backed folder; so is every update by a
trainer. A large checkpoint that vLLM can take as it is is read by the workers where it lies.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from tasks.policy.policy_model import combine_checksums, tensor_checksum
from tasks.sampling.vllm.device_buffer import aligned
from tasks.sampling.vllm.head_padding import HeadPadding, pad_config, pad_tensor, plan_head_padding
from tasks.sampling.vllm.probe import MAX_PROBED_PARAMS
from tasks.sampling.vllm.weights import make_staging_dir, read_config, stored_shapes, write_staging_dir
from tasks.study.errors import InputError

Checksums = dict[str, list[int]]

ARCHITECTURE = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "tie_word_embeddings",
)
HEAD = "lm_head.weight"


@dataclass(frozen=True)
class WeightLayout:
    """What the workers take: how a transformers state dict is turned into it.

    Attributes:
        dtype: of the tensors, as torch names it.
        tied: whether the output layer is the embedding, which then travels once.
        padding: how small heads are widened; None: not at all.
        largest: bytes of the largest tensor.
        total: bytes of all.
    """

    dtype: str
    tied: bool
    padding: HeadPadding | None
    largest: int
    total: int


class StaleWeights(RuntimeError):
    """The engine does not hold the weights it was given."""


class Staging:
    """The weights of one architecture on their way to vLLM.

    Attributes:
        config: the checkpoint's `config.json`.
        folder: what vLLM starts from, and starts again from after a loss: always the current weights.
    """

    def __init__(self, checkpoint: Path, head_sizes: list[int] | None) -> None:
        """Reads an architecture and makes the memory-backed folder.

        Args:
            checkpoint: a transformers checkpoint.
            head_sizes: what the attention kernel knows; None: anything.

        Raises:
            InputError: no checkpoint there, or none that can be padded for the kernel.
        """
        self.config = read_config(checkpoint)
        self._padding = None if head_sizes is None else plan_head_padding(self.config, head_sizes)
        self._shapes = stored_shapes(checkpoint)
        self._stage = make_staging_dir()
        self.folder = self._stage
        padded = self.config if self._padding is None else pad_config(self.config, self._padding)
        (self._stage / "config.json").write_text(json.dumps(padded), encoding="utf-8")

    @property
    def is_small(self) -> bool:
        """Whether the probe can compute the model a second time."""
        return sum(torch.Size(shape).numel() for shape in self._shapes.values()) <= MAX_PROBED_PARAMS

    @property
    def reads_checkpoints(self) -> bool:
        """Whether the workers read checkpoints where they lie."""
        return self._padding is None and not self.is_small

    def use_checkpoint(self, checkpoint: Path) -> None:
        """Makes a checkpoint the current weights without copying it."""
        self.folder = checkpoint

    def write(self, tensors: Mapping[str, torch.Tensor]) -> Checksums:
        """Writes a whole state dict to the folder; returns the checksums of what the workers will read.

        Raises:
            StaleWeights: a tensor is missing, foreign or of another shape.
        """
        self.check_complete({name: tuple(tensor.shape) for name, tensor in tensors.items()})
        stored = {name: tensor.to("cpu") for name, tensor in tensors.items() if not (self._tied and name == HEAD)}
        if self._padding is not None:
            stored = {name: pad_tensor(name, tensor, self._padding) for name, tensor in stored.items()}
        write_staging_dir(self._stage, stored)
        self.folder = self._stage
        return {name: tensor_checksum(tensor) for name, tensor in stored.items()}

    def layout(self, dtype: torch.dtype) -> WeightLayout:
        """How a state dict is laid out for vLLM's workers."""
        sizes = [self._stored_bytes(shape, dtype) for name, shape in self._shapes.items()]
        name = str(dtype).removeprefix("torch.")
        return WeightLayout(name, self._tied, self._padding, max(sizes), sum(sizes))

    def _stored_bytes(self, shape: tuple[int, ...], dtype: torch.dtype) -> int:
        """Bytes of a tensor in a buffer, at most: padding widens each of a weight's dimensions."""
        growth = 1.0 if self._padding is None else self._padding.padded_hidden / self._padding.hidden
        return aligned(int(growth ** len(shape) * torch.Size(shape).numel() + 1) * dtype.itemsize)

    def check_architecture(self, checkpoint: Path) -> None:
        """Compares a checkpoint with the architecture the engine was opened for.

        Raises:
            InputError: it is another one, or there is none.
        """
        config = read_config(checkpoint)
        for key in ARCHITECTURE:
            if config.get(key) != self.config.get(key):
                raise InputError(
                    f"{checkpoint}: {key} is {config.get(key)}, the running engine's model has {self.config.get(key)}"
                )

    def fingerprint(self, checksums: Checksums) -> str:
        """The fingerprint of a state dict from the checksums of its stored tensors."""
        tied = {HEAD: checksums["model.embed_tokens.weight"]} if self._tied and HEAD not in checksums else {}
        return combine_checksums(checksums | tied)

    def remove(self) -> None:
        """Deletes the folder."""
        shutil.rmtree(self._stage, ignore_errors=True)

    @property
    def _tied(self) -> bool:
        return bool(self.config.get("tie_word_embeddings"))

    def check_complete(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Refuses what is not a whole state dict of this architecture.

        Args:
            shapes: of its tensors, by name.

        Raises:
            StaleWeights: a tensor is missing, foreign or of another shape; it is named.
        """
        optional = {HEAD} if self._tied else set()
        missing = sorted(set(self._shapes) - set(shapes) - optional)
        foreign = sorted(set(shapes) - set(self._shapes) - optional)
        wrong = sorted(name for name in set(shapes) & set(self._shapes) if shapes[name] != self._shapes[name])
        if missing or foreign or wrong:
            raise StaleWeights(f"partial update refused: missing {missing}, unknown {foreign}, wrong shape {wrong}")


def check_checksums(results: Sequence[Checksums], expected: Checksums | None) -> Checksums:
    """Compares what the workers read with what was written, and with one another; returns the checksums.

    Args:
        results: checksums by tensor, one per worker.
        expected: what was written; None where the workers read a checkpoint by themselves.

    Raises:
        StaleWeights: they differ.
    """
    first = results[0]
    reference = first if expected is None else expected
    names = first.keys() | reference.keys()
    differing = sorted(name for name in names if first.get(name) != reference.get(name))
    if differing or any(result != first for result in results):
        where = f"in {', '.join(differing[:5])}" if differing else "among themselves"
        raise StaleWeights(f"vLLM's workers read other weights than they were given; they differ {where}")
    return first
