"""Worker processes for a stage's jobs: how many run side by side, which GPUs each one holds, how all of them end.

Jobs that need no GPU reuse workers, because importing torch costs more than a small job. A job on GPUs gets a new
worker, on devices that stay locked as long as it lives, and the worker ends with the job.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Self

from tasks.runtime.gpu_locks import Device, lease_gpus, lock_folder, read_devices
from tasks.runtime.machine import usable_cores
from tasks.runtime.workers import WorkCancelled, Worker, thread_environment
from tasks.study.params import Params
from tasks.study.paths import StudyPaths


class Launcher:
    """Owns a stage's workers. A context manager; threads share it, as many as it has slots.

    Attributes:
        params: the study.
        slots: jobs that run side by side: `hardware.workers`, else one per core.
        log: file that takes the workers' output, `data/<stage>/workers.log`.
    """

    def __init__(self, params: Params, stage: str) -> None:
        """Starts nothing; a worker starts at its first job."""
        self.params = params
        self.slots = params.hardware.workers or usable_cores()
        self.log = StudyPaths.of(params).stage(stage) / "workers.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._idle: dict[object, list[Worker]] = {}
        self._busy: set[Worker] = set()

    @functools.cached_property
    def devices(self) -> tuple[Device, ...]:
        """The GPUs that the jobs may use. Raises as `read_devices`."""
        return read_devices(os.environ.get("CUDA_VISIBLE_DEVICES"))

    @contextlib.contextmanager
    def lease(
        self,
        command: Sequence[str] | None = None,
        environment: Mapping[str, str] | None = None,
        num_processes: int = 1,
        num_gpus: int = 0,
    ) -> Iterator[Worker]:
        """Lends a worker; one whose job raised is ended.

        Args:
            command: command up to and including `-m`; default: `hardware.python`, else this interpreter.
            environment: variables set besides this process's own; default: `thread_environment`.
            num_processes: processes that the command starts.
            num_gpus: devices to wait for and to lock.

        Raises:
            WorkCancelled: the launcher was closed, now or before.
        """
        hardware = self.params.hardware
        command = [hardware.python or sys.executable, "-m"] if command is None else command
        environment = thread_environment(hardware.threads_per_worker) if environment is None else environment
        with contextlib.ExitStack() as stack:
            key: object = (tuple(command), frozenset(environment.items()), num_processes)
            lock_fds: list[int] = []
            if num_gpus:
                try:
                    lease = lease_gpus(self.devices, num_gpus, lock_folder(), self._stop)
                    devices, lock_fds = stack.enter_context(lease)
                except InterruptedError as error:
                    raise WorkCancelled(str(error)) from error
                environment = {**environment, "CUDA_VISIBLE_DEVICES": ",".join(device.name for device in devices)}
            new = Worker(command, environment, self.log, num_processes, lock_fds)
            yield stack.enter_context(self._worker(new, None if num_gpus else key))

    @contextlib.contextmanager
    def _worker(self, new: Worker, key: object = None) -> Iterator[Worker]:
        """Yields an idle worker of this key, else the new one; keeps it afterwards if it has a key and did its job."""
        reusable = False
        with self._lock:
            if self._stop.is_set():
                raise WorkCancelled("the launcher is closed")
            idle = self._idle.setdefault(key, [])
            worker = idle.pop() if idle else new
            self._busy.add(worker)
        try:
            yield worker
            reusable = key is not None
        finally:
            if not reusable:
                worker.close()
            with self._lock:
                self._busy.discard(worker)
                if reusable:
                    idle.append(worker)

    def close(self) -> None:
        """Ends all workers permanently; jobs in flight raise `WorkCancelled`."""
        self._stop.set()
        with self._lock:
            workers = [*self._busy, *(worker for idle in self._idle.values() for worker in idle)]
        for worker in workers:
            worker.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
