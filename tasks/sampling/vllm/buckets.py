"""Weights from a trainer's processes to the workers of their engine, bucket by bucket, without leaving the devices.

Every process of an engine's group sees the whole weights pass, one tensor after another, and packs them into a buffer
on its own device. The worker on the same device opens that buffer once per update, by its handle, and copies each
bucket out; the buffers are filled again when all workers have (`device_buffer`). Nothing waits for processes outside
of the group.

Differences from vLLM's `IPCTrainerWeightTransferEngine`: the default group takes no part, every tensor is summed on
both sides (`tensor_checksum`), a failure on the leader reaches the other processes, and the same code runs on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch

from tasks.policy.policy_model import tensor_checksum
from tasks.sampling.vllm.device_buffer import DeviceBuffer, Entry, Handles, pack, unpack
from tasks.sampling.vllm.device_memory import free_cached_memory
from tasks.sampling.vllm.head_padding import pad_tensor
from tasks.sampling.vllm.process import EngineDied
from tasks.sampling.vllm.staging import HEAD, Checksums, WeightLayout, check_checksums

BUCKET_BYTES = 1 << 30


class TransferFailed(EngineDied):
    """The leader of this process's group could not hand the weights over; its own error says why.

    To this process its engine is lost; whether the run is tried again is decided by the leader's error.
    """


class BucketTarget(Protocol):
    """The workers of an engine, as the leader reaches them."""

    def open_buffers(self, handles: Handles) -> None:
        """Each worker opens the buffer of its device."""

    def load_bucket(self, entries: list[Entry]) -> list[Checksums]:
        """Each worker copies a bucket out of its buffer and loads it; returns what each of them read."""

    def close_buffers(self) -> None:
        """The workers let go of the buffers; the weights are whole."""


@runtime_checkable
class BucketEngine(Protocol):
    """An engine that takes weights in buckets."""

    @property
    def bucket_layout(self) -> WeightLayout | None:
        """What its workers take; None where it takes weights another way."""

    def update_in_buckets(self, weights: Iterable[tuple[str, torch.Tensor]], sender: BucketSender) -> str:
        """Replaces the weights; the group's other processes call `sender.send` meanwhile. Returns the fingerprint."""


class Group(Protocol):
    """Processes that share an engine; all of them make every call."""

    rank: int
    """This process's number in the group; 0 leads."""

    def all_gather(self, value: Any) -> list[Any]:
        """Every process's value, by rank; nobody returns before all have come."""

    def broadcast(self, value: Any) -> Any:
        """The leader's value."""


class Alone:
    """A process that shares its engine with none; see `Group`."""

    rank = 0

    def all_gather(self, value: Any) -> list[Any]:
        """The value itself."""
        return [value]

    def broadcast(self, value: Any) -> Any:
        """The value itself."""
        return value


@dataclass(frozen=True)
class SentWeights:
    """What passed in a transfer.

    Attributes:
        shapes: of the tensors of the state dict, by name.
        checksums: of the same tensors.
    """

    shapes: dict[str, tuple[int, ...]]
    checksums: Checksums


class BucketSender:
    """One process's side of the transfer; all processes of a group make the same calls."""

    def __init__(
        self,
        layout: WeightLayout,
        device: torch.device,
        group: Group | None = None,
        bucket_bytes: int = BUCKET_BYTES,
    ) -> None:
        """Allocates nothing yet.

        Args:
            layout: what the workers take.
            device: of this process.
            group: the processes that share the engine, the first one leads; None: this one alone.
            bucket_bytes: of a buffer; more where a tensor is larger.
        """
        self._layout, self._device, self._group = layout, device, group or Alone()
        self._num_bytes = max(min(bucket_bytes, layout.total), layout.largest)

    def send(self, weights: Iterable[tuple[str, torch.Tensor]], target: BucketTarget | None = None) -> SentWeights:
        """Hands a whole state dict over.

        Args:
            weights: names and whole tensors, in the same order on every process.
            target: the workers; given on the leader only.

        Raises:
            StaleWeights: a worker read something else (on the leader).
            TransferFailed: the leader failed (on the others).
        """
        buffer = DeviceBuffer(self._num_bytes, self._device, self._group.rank)
        sent = SentWeights({}, {})
        handles = dict(self._group.all_gather((buffer.key, buffer.handle)))
        self._lead(target, lambda workers: workers.open_buffers(handles))
        for entries in pack(self._laid_out(weights, sent, target is not None), buffer.data):
            _synchronize(self._device)
            self._group.all_gather(None)  # every buffer holds this bucket now
            self._lead(target, partial(_load, entries, buffer.data))
        self._lead(target, lambda workers: workers.close_buffers())
        buffer.free()
        free_cached_memory()
        self._group.all_gather(None)  # all memory is given back
        return sent

    def _laid_out(
        self, weights: Iterable[tuple[str, torch.Tensor]], sent: SentWeights, sums: bool
    ) -> Iterator[tuple[str, torch.Tensor]]:
        """The tensors as the workers take them; what passes is noted in `sent`."""
        layout = self._layout
        for name, tensor in weights:
            sent.shapes[name] = tuple(tensor.shape)
            if layout.tied and name == HEAD:
                continue
            tensor = tensor.detach().to(getattr(torch, layout.dtype))
            if sums:
                sent.checksums[name] = tensor_checksum(tensor)
            yield name, tensor if layout.padding is None else pad_tensor(name, tensor, layout.padding)

    def _lead(self, target: BucketTarget | None, call: Callable[[BucketTarget], None]) -> None:
        """The leader makes a call while the others wait; where it fails, all fail."""
        failure: Exception | None = None
        if target is not None:
            try:
                call(target)
            except Exception as error:
                failure = error
        message = self._group.broadcast(None if failure is None else f"{type(failure).__name__}: {failure}")
        if failure is not None:
            raise failure
        if message is not None:
            raise TransferFailed(f"the engine's leader could not hand over the weights: {message}")


def _load(entries: list[Entry], buffer: torch.Tensor, workers: BucketTarget) -> None:
    """Has the workers load a bucket and compares what they read with this process's buffer."""
    check_checksums(workers.load_bucket(entries), {name: tensor_checksum(t) for name, t in unpack(buffer, entries)})


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
