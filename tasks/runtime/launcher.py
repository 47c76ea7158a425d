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
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

from tasks.runtime.gpu_locks import Device, lease_gpus, lock_folder, read_devices
from tasks.runtime.job_answers import WorkCancelled
from tasks.runtime.machine import usable_cores
from tasks.runtime.workers import Worker, thread_environment
from tasks.study.params import Params
from tasks.study.paths import StudyPaths


class JobRunner(Protocol):
    """What does one job at a time: a worker process, or a launch whose job travels as a file."""

    def run(self, task_path: str, arguments: Mapping[str, Any]) -> Any:
        """Does a job; see `tasks.runtime.workers.Worker.run`."""
        ...

    def ask_stop(self) -> None:
        """Asks the job in flight to save its work and stop; no other one begins."""
        ...

    def close(self) -> None:
        """Ends the processes at once."""
        ...

    def end(self) -> None:
        """Ends the processes permanently."""
        ...


class Launcher:
    """Owns a stage's workers. A context manager; threads share it, as many as it has slots.

    Left by Ctrl-C or a signal, it lets jobs that can stop early do so, for `grace_seconds`; a second Ctrl-C or signal
    ends them at once.

    Attributes:
        params: the study.
        slots: jobs that run side by side: `hardware.workers`, else one per core.
        log: file that takes the workers' output, `data/<stage>/workers.log`.
        grace_seconds: time that jobs have to save their work and stop; 0 where a stage's jobs cannot.
    """

    grace_seconds = 0.0

    def __init__(self, params: Params, stage: str) -> None:
        """Starts nothing; a worker starts at its first job."""
        self.params = params
        self.slots = params.hardware.workers or usable_cores()
        self.log = StudyPaths.of(params).stage(stage) / "workers.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._idle: dict[object, list[JobRunner]] = {}
        self._busy: set[JobRunner] = set()

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
    ) -> Iterator[JobRunner]:
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
            yield stack.enter_context(self.lend(new, None if num_gpus else key))

    @contextlib.contextmanager
    def lend(self, new: JobRunner, key: object = None) -> Iterator[JobRunner]:
        """Yields an idle worker of this key, else the new one; keeps it afterwards if it has a key and did its job.

        Raises:
            WorkCancelled: the launcher was closed, now or before.
        """
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

    def drain(self) -> None:
        """Lets no job begin, asks those in flight to stop and waits for them, for `grace_seconds` at most."""
        self._stop.set()
        with self._lock:
            busy = [*self._busy]
        if not busy or not self.grace_seconds:
            return
        print(
            f"stopping at the end of the step, within {self.grace_seconds:.0f} s; Ctrl-C again stops at once",
            file=sys.stderr,
        )
        for worker in busy:
            worker.ask_stop()
        deadline = time.monotonic() + self.grace_seconds
        while time.monotonic() < deadline and not self._busy.isdisjoint(busy):
            time.sleep(0.1)

    def close(self) -> None:
        """Ends all workers permanently; jobs in flight raise `WorkCancelled`."""
        self._stop.set()
        with self._lock:
            workers = [*self._busy, *(worker for idle in self._idle.values() for worker in idle)]
        for worker in workers:
            worker.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            if error is not None and issubclass(error, (KeyboardInterrupt, SystemExit)):
                self.drain()
        finally:
            self.close()
