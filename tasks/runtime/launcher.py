"""Worker processes for a stage's jobs: how many run side by side, which GPUs each one holds, how all of them end.

Jobs that need no GPU reuse workers, because importing torch costs more than a small job. A job on GPUs gets a new
worker, on devices that stay locked as long as it lives, and the worker ends with the job. With an executor
(`tasks.runtime.executors`) the same jobs go to a cluster instead, each as a launch of its own.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol, Self

from tasks.runtime.executors import WorkOrder, open_executor
from tasks.runtime.gpu_locks import Device, lease_gpus, lock_folder, read_devices
from tasks.runtime.job_answers import JobPreempted, WorkCancelled, WorkerDied
from tasks.runtime.job_files import JobFileLaunch
from tasks.runtime.launches import newest_launch_folder, node_job
from tasks.runtime.machine import usable_cores
from tasks.runtime.workers import Worker, thread_environment
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

log = logging.getLogger(__name__)

PAUSES = (2.0, 8.0, 30.0)
"""Seconds before a job that was lost on this machine is done again, by losses since it last got on."""
CLUSTER_SLOTS = 64
"""Jobs handed to a cluster at a time where `hardware.workers` is null; its queue orders them."""


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
        slots: jobs that run side by side: `hardware.workers`, else one per core, or as many as a cluster's queue takes.
        executor: where jobs go, None: to workers on this machine.
        log: file that takes the workers' output, `data/<stage>/workers.log`.
        grace_seconds: time that jobs have to save their work and stop; 0 where a stage's jobs cannot.
    """

    grace_seconds = 0.0

    def __init__(self, params: Params, stage: str) -> None:
        """Starts nothing; a worker starts at its first job."""
        self.params = params
        self.executor = open_executor(params.hardware, stage)
        self.slots = params.hardware.workers or (usable_cores() if self.executor is None else CLUSTER_SLOTS)
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
    def lease(self, order: WorkOrder, command: Sequence[str] | None = None) -> Iterator[JobRunner]:
        """Lends what does the order's job: a worker here, or a launch on the cluster. One whose job raised is ended.

        Args:
            order: what the job needs.
            command: on this machine, the command up to and including `-m`; default: `hardware.python`, else this
                interpreter.

        Raises:
            WorkCancelled: the launcher was closed, now or before.
        """
        hardware = self.params.hardware
        environment = order.environment or thread_environment(hardware.threads_per_worker)
        if self.executor is not None:
            earlier = newest_launch_folder(order.folder)
            job = node_job(hardware, order, environment)
            with self.lend(JobFileLaunch(self.executor, job, earlier)) as launch:
                yield launch
            return
        command = [hardware.python or sys.executable, "-m"] if command is None else command
        with contextlib.ExitStack() as stack:
            key: object = (tuple(command), frozenset(environment.items()), order.num_processes)
            lock_fds: list[int] = []
            if order.num_gpus:
                try:
                    lease = lease_gpus(self.devices, order.num_gpus, lock_folder(), self._stop)
                    devices, lock_fds = stack.enter_context(lease)
                except InterruptedError as error:
                    raise WorkCancelled(str(error)) from error
                environment = {**environment, "CUDA_VISIBLE_DEVICES": ",".join(device.name for device in devices)}
            new = Worker(command, environment, self.log, order.num_processes, lock_fds)
            yield stack.enter_context(self.lend(new, None if order.num_gpus else key))

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

    def keep_trying(self, name: str, attempt: Callable[[], Any], progress: Callable[[], object]) -> Any:
        """Does a job, and again whenever it was lost, as long as it gets on or pauses are left.

        Args:
            name: of the job, for the log.
            attempt: does it.
            progress: how far it has got; while that changes between two losses, none counts against it, so that a job
                longer than a queue's time limit ends.

        Raises:
            WorkerDied: it was lost once more often than there are pauses, without getting on.
            WorkCancelled: the launcher was closed.
            As the attempt otherwise.
        """
        failures, reached = 0, progress()
        pauses = PAUSES if self.executor is None else self.executor.pauses
        while True:
            try:
                return attempt()
            except WorkerDied as error:
                before, reached = reached, progress()
                failures = failures + 1 if reached == before else 0
                if failures > len(pauses):
                    raise
                pause = 0.0 if isinstance(error, JobPreempted) and not failures else pauses[max(0, failures - 1)]
                last = str(error).strip().splitlines()[-1]
                log.warning("%s: %s; going on from %s in %.0f s, see %s", name, last, reached, pause, self.log)
                if self._stop.wait(pause):
                    raise WorkCancelled(f"stopped before {name} was done") from error

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
        if self.executor is not None:
            self.executor.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        try:
            if error is not None and issubclass(error, (KeyboardInterrupt, SystemExit)):
                self.drain()
        finally:
            self.close()
