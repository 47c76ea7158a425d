"""The machine's GPUs, and who may use them: one lock file per device, locked until the training process is gone.

The locks are `flock`s on files that every program of this user on this machine sees, so two studies side by side never
share a device. The open files go to the training process itself (`tasks.runtime.workers.Worker`, `pass_fds`): a killed
launcher frees nothing that is still in use, and a killed trainer leaves nothing locked.

Not covered: programs that do not take these locks, and other users.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tasks.study.errors import InputError

QUERY = ("nvidia-smi", "--query-gpu=uuid,memory.total", "--format=csv,noheader,nounits")

MODES = ("nvidia-smi", "--query-gpu=uuid,compute_mode", "--format=csv,noheader")


@dataclass(frozen=True)
class Device:
    """A GPU.

    Attributes:
        name: its UUID, as CUDA_VISIBLE_DEVICES takes it.
        memory: bytes.
    """

    name: str
    memory: int


def read_devices(visible: str | None) -> tuple[Device, ...]:
    """The GPUs that this process may use; none where there is no driver.

    Args:
        visible: value of CUDA_VISIBLE_DEVICES, None where it is not set.

    Raises:
        InputError: the variable names a device that is not there.
    """
    if shutil.which(QUERY[0]) is None:
        return ()
    answer = subprocess.run(QUERY, capture_output=True, text=True, timeout=60, check=False)
    if answer.returncode:
        return ()
    devices = [Device(name, int(size) << 20) for name, size in (row.split(", ") for row in answer.stdout.splitlines())]
    return select_devices(devices, visible)


def exclusive_devices() -> list[str]:
    """UUIDs of the GPUs that admit one process each (compute mode EXCLUSIVE_PROCESS): no engine beside a trainer."""
    if shutil.which(MODES[0]) is None:
        return []
    answer = subprocess.run(MODES, capture_output=True, text=True, timeout=60, check=False)
    rows = [row.split(", ") for row in answer.stdout.splitlines()] if answer.returncode == 0 else []
    return [name for name, mode in rows if mode.lower() == "exclusive_process"]


def select_devices(devices: Sequence[Device], visible: str | None) -> tuple[Device, ...]:
    """Those of the devices that CUDA_VISIBLE_DEVICES names, by index or UUID. Raises as `read_devices`."""
    if visible is None:
        return tuple(devices)
    chosen = []
    for word in (word.strip() for word in visible.split(",") if word.strip()):
        if word == "-1":
            break
        matches = [d for index, d in enumerate(devices) if word == str(index) or d.name.startswith(word)]
        if not matches:
            raise InputError(f"CUDA_VISIBLE_DEVICES names {word!r}, but this machine has {len(devices)} GPUs")
        chosen.append(matches[0])
    return tuple(chosen)


def lock_folder() -> Path:
    """Where this user's device locks lie."""
    return Path(tempfile.gettempdir()) / f"rlscale-devices-{os.getuid()}"


@contextlib.contextmanager
def lease_gpus(
    devices: Sequence[Device], count: int, folder: Path, stop: threading.Event
) -> Iterator[tuple[list[Device], list[int]]]:
    """Waits for `count` free devices and locks them.

    A waiting process holds the queue's lock and the devices locked so far, so a run of many devices is not starved by
    runs of few, and no two waiters can block each other.

    Args:
        devices: to choose from.
        count: how many.
        folder: of the lock files.
        stop: when set, waiting ends.

    Yields:
        The devices and the open lock files' descriptors, to be handed on to the processes that use the devices.

    Raises:
        InterruptedError: `stop` was set.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as locks:
        chosen: dict[Device, IO[str]] = {}
        with (folder / "queue.lock").open("w") as queue:
            while not _try_lock(queue):
                _pause(stop)
            while True:
                for device in [device for device in devices if device not in chosen]:
                    file = (folder / f"{device.name}.lock").open("w")
                    if len(chosen) < count and _try_lock(file):
                        chosen[device] = locks.enter_context(file)
                    else:
                        file.close()
                if len(chosen) == count:
                    break
                _pause(stop)
        yield list(chosen), [file.fileno() for file in chosen.values()]


def _pause(stop: threading.Event) -> None:
    if stop.wait(0.2):
        raise InterruptedError("stopped while waiting for free devices")


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
