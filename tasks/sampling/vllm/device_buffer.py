"""A buffer on a device that another process opens: how a trainer's process hands tensors to the engine's worker there.

    device   handle                      key of the device
    GPU      CUDA IPC                    its UUID
    CPU      path of a shared mapping    number in the group; a worker's local rank

On an H100: `benchmarks/weight_sync.py --other-process`.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from tasks.sampling.vllm.device_memory import plain_segments
from tasks.sampling.vllm.weights import make_staging_dir

ALIGNMENT = 16

Entry = tuple[str, str, list[int]]
"""A tensor of a bucket: name, dtype, shape. Tensors follow one another at multiples of `ALIGNMENT` bytes."""
Handles = dict[str, bytes]
"""Handles of a group's buffers, by device."""


class DeviceBuffer:
    """Bytes on a device that a process beside this one can open.

    Attributes:
        data: uint8 [bytes].
        key: names the device.
        handle: opens the buffer, see `open_buffer`.
    """

    def __init__(self, num_bytes: int, device: torch.device, number: int) -> None:
        """Allocates; `number` tells apart the processes of a group on a CPU."""
        self._folder: Path | None = None
        self.key = device_key(device, number)
        if device.type == "cpu":
            self._folder = make_staging_dir()
            path = self._folder / "bucket"
            self.data = torch.from_file(str(path), shared=True, size=num_bytes, dtype=torch.uint8)
            self.handle = str(path).encode()
        else:
            from torch.multiprocessing.reductions import reduce_tensor

            with plain_segments():
                self.data = torch.empty(num_bytes, dtype=torch.uint8, device=device)
            self.handle = pickle.dumps(reduce_tensor(self.data)[1])

    def free(self) -> None:
        """Lets go of the memory."""
        del self.data
        if self._folder is not None:
            (self._folder / "bucket").unlink()
            self._folder.rmdir()


def device_key(device: torch.device, number: int) -> str:
    """Names a device alike in all processes that use it."""
    return f"cpu:{number}" if device.type == "cpu" else str(torch.cuda.get_device_properties(device).uuid)


def open_buffer(handles: Handles, key: str, device: torch.device) -> torch.Tensor:
    """Opens the buffer of this process's device; uint8 [bytes].

    Raises:
        LookupError: no process of the group has a buffer there.
    """
    if key not in handles:
        raise LookupError(f"no trainer of this engine's group is on device {key}, only on {sorted(handles)}")
    if device.type == "cpu":
        path = handles[key].decode()
        return torch.from_file(path, shared=True, size=Path(path).stat().st_size, dtype=torch.uint8)
    from torch.multiprocessing.reductions import rebuild_cuda_tensor

    arguments = list(pickle.loads(handles[key]))
    arguments[6] = device.index  # the sender's number of the device, which this process may count differently
    return rebuild_cuda_tensor(*arguments)


def pack(weights: Iterable[tuple[str, torch.Tensor]], buffer: torch.Tensor) -> Iterator[list[Entry]]:
    """Copies tensors into a buffer; yields what it holds whenever it is full, and at the end."""
    entries: list[Entry] = []
    used = 0
    for name, tensor in weights:
        size = aligned(tensor.numel() * tensor.element_size())
        if entries and used + size > buffer.numel():
            yield entries
            entries, used = [], 0
        _view(buffer, used, tensor.dtype, list(tensor.shape)).copy_(tensor)
        entries.append((name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)))
        used += size
    if entries:
        yield entries


def unpack(buffer: torch.Tensor, entries: list[Entry]) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors of a bucket, as views of the buffer."""
    start = 0
    for name, dtype, shape in entries:
        view = _view(buffer, start, getattr(torch, dtype), shape)
        yield name, view
        start += aligned(view.numel() * view.element_size())


def aligned(size: int) -> int:
    """Bytes that a tensor of this size takes in a buffer."""
    return -(-size // ALIGNMENT) * ALIGNMENT


def _view(buffer: torch.Tensor, start: int, dtype: torch.dtype, shape: list[int]) -> torch.Tensor:
    return buffer[start : start + math.prod(shape) * dtype.itemsize].view(dtype).view(shape)
