"""Memory of a device that a trainer and an engine share."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator

import torch

_ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")


def free_cached_memory() -> None:
    """Gives what PyTorch's allocator keeps back to the device, so that a waking engine finds it; nothing on a CPU."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.ipc_collect()
        torch.cuda.empty_cache()


def use_expandable_segments() -> None:
    """Has this process's allocator grow its segments, against fragmentation at changing lengths.

    Set in the process and not in the environment, which the engine's processes inherit: vLLM's sleep mode does not go
    with such segments. A configuration that the user has set in the environment is left alone.
    """
    if torch.cuda.is_available() and not _is_configured():
        torch.cuda.memory._set_allocator_settings("expandable_segments:True")


@contextlib.contextmanager
def plain_segments() -> Iterator[None]:
    """Around an allocation that another process will open: its handle is then an ordinary one of CUDA IPC."""
    toggles = torch.cuda.is_available() and not _is_configured()
    if toggles:
        torch.cuda.memory._set_allocator_settings("expandable_segments:False")
    try:
        yield
    finally:
        if toggles:
            torch.cuda.memory._set_allocator_settings("expandable_segments:True")


def _is_configured() -> bool:
    return any(os.environ.get(name) for name in _ALLOCATOR_VARIABLES)
