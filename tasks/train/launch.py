"""Launching: every run is trained by processes that `accelerate launch` started.

On a CPU the processes are launched once and train many runs one after another, because importing torch costs more than
a small run. On GPUs they are launched for each run, on devices that are locked as long as they live, and end with it.
Elsewhere (`hardware.launch_command`) the run travels as a job file. The code they run is the same:
`tasks.train.loop:train_job`.

What can go wrong and what is done about it: a launch that fails is tried again after a pause; processes that die raise
`WorkerDied`, which the task's own retries answer with new ones, and the run goes on from its last checkpoint; a run out
of memory is tried once more with half the token budget.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shlex
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.runtime.gpu_locks import lease_gpus, lock_folder, read_devices
from tasks.runtime.workers import LaunchFailed, OutOfMemory, WorkCancelled, Worker, run_job_file, thread_environment
from tasks.study.fingerprints import run_fingerprint
from tasks.study.grid import Run
from tasks.study.manifests import once
from tasks.study.params import Hardware, Params
from tasks.study.paths import StudyPaths
from tasks.train.placement import Placement, choose_placement

log = logging.getLogger(__name__)

TRAIN_TASK = "tasks.train.loop:train_job"
PAUSES = (2.0, 8.0, 30.0)
"""Seconds before a failed launch is tried again."""
CLUSTER_SLOTS = 64
"""Runs handed to a launch command at a time where `hardware.workers` is null; the cluster's queue orders them."""


class Launcher:
    """Owns the processes that train. A context manager; give runs to it from as many threads as it has slots."""

    def __init__(self, params: Params, job: str = TRAIN_TASK) -> None:
        """Looks at the machine; nothing is started before the first run.

        Args:
            params: the study.
            job: function that trains a run. Another may wrap `tasks.train.loop:train_job`, to observe or to make it
                fail.
        """
        self.params = params
        self._job = job
        self._devices = read_devices(os.environ.get("CUDA_VISIBLE_DEVICES"))
        self.slots = _slots(params.hardware, len(self._devices))
        self._log = StudyPaths.of(params).stage("train") / "workers.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._idle: dict[Placement, list[Worker]] = {}
        self._busy: set[Worker] = set()

    def train(self, run: Run, fingerprint: str) -> dict[str, Any]:
        """Trains a run; returns the facts for its manifest.

        Raises:
            InputError: bad input, or a run that cannot fit the devices.
            OutOfMemory: it ran out of memory with the token budget and with half of it.
            As `tasks.runtime.workers.Worker.run` otherwise.
        """
        placement = choose_placement(self.params, run, self._devices)
        budget = self.params.hardware.token_budget
        try:
            return self._launched(run, fingerprint, placement, self.params)
        except OutOfMemory:
            log.warning("%s ran out of memory; trying once more with hardware.token_budget %d", run.run_id, budget // 2)
        hardware = self.params.hardware.model_copy(update={"token_budget": max(1, budget // 2)})
        try:
            return self._launched(run, fingerprint, placement, self.params.model_copy(update={"hardware": hardware}))
        except OutOfMemory as error:
            raise OutOfMemory(
                f"{run.run_id} ran out of memory with hardware.token_budget {budget} and again with {budget // 2}; "
                f"raise hardware.gpus_per_run.{run.size} or set hardware.gradient_checkpointing\n{error}"
            ) from error

    def _launched(self, run: Run, fingerprint: str, placement: Placement, params: Params) -> dict[str, Any]:
        """Trains a run; a launch that fails is tried again after a pause."""
        arguments = {"params": params.model_dump_json(), "run": asdict(run), "fingerprint": fingerprint}
        for pause in itertools.chain(PAUSES, [None]):
            try:
                return self._once(run, placement, arguments)
            except LaunchFailed as error:
                if pause is None:
                    raise
                log.warning("%s: %s; trying again in %.0f s, see %s", run.run_id, error, pause, self._log)
                if self._stop.wait(pause):
                    raise WorkCancelled(f"stopped before {run.run_id} began") from error
        raise AssertionError("the last attempt returns or raises")

    def _once(self, run: Run, placement: Placement, arguments: dict[str, Any]) -> dict[str, Any]:
        hardware = self.params.hardware
        environment = launch_environment(hardware, placement)
        if hardware.launch_command is not None:
            folder = _fresh(StudyPaths.of(self.params).run(run) / "launches")
            command = cluster_command(hardware, placement, run)
            facts: dict[str, Any] = run_job_file(command, environment, folder, (self._job, arguments), self._stop)
            return facts
        with self._worker(placement, environment) as worker:
            return dict(worker.run(self._job, arguments))

    @contextlib.contextmanager
    def _worker(self, placement: Placement, environment: dict[str, str]) -> Iterator[Worker]:
        """Lends a worker: on a CPU one that has been used before, on GPUs a new one with devices of its own."""
        prefix = accelerate_command(self.params.hardware, placement)
        if not placement.gpu:
            with self._lock:
                idle = self._idle.setdefault(placement, [])
                worker = idle.pop() if idle else Worker(prefix, environment, self._log, placement.num_processes)
            with self._watched(worker):
                yield worker
            with self._lock:
                idle.append(worker)
            return
        try:
            with lease_gpus(self._devices, placement.num_processes, lock_folder(), self._stop) as (devices, handles):
                names = {"CUDA_VISIBLE_DEVICES": ",".join(device.name for device in devices)}
                worker = Worker(prefix, environment | names, self._log, placement.num_processes, handles)
                with self._watched(worker):
                    yield worker
                    worker.close()
        except InterruptedError as error:
            raise WorkCancelled(str(error)) from error

    @contextlib.contextmanager
    def _watched(self, worker: Worker) -> Iterator[None]:
        """Inside, `close` reaches the worker; one whose job failed is ended."""
        with self._lock:
            self._busy.add(worker)
        try:
            if self._stop.is_set():
                raise WorkCancelled("the launcher is closed")
            yield
        except BaseException:
            worker.close()
            raise
        finally:
            with self._lock:
                self._busy.discard(worker)

    def close(self) -> None:
        """Ends all workers permanently; runs in flight raise `WorkCancelled` and keep their last checkpoint."""
        self._stop.set()
        with self._lock:
            workers = [*self._busy, *(worker for idle in self._idle.values() for worker in idle)]
        for worker in workers:
            worker.end()

    def __enter__(self) -> Launcher:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _slots(hardware: Hardware, devices: int) -> int:
    """Runs side by side: as many as the smallest of them fit, one per core on a CPU."""
    if hardware.workers is not None:
        return hardware.workers
    if hardware.launch_command is not None:
        return CLUSTER_SLOTS
    smallest = min(hardware.gpus_per_run.values(), default=1)
    return max(1, (devices or os.cpu_count() or 1) // smallest)


def _fresh(folder: Path) -> Path:
    """A new numbered folder below `folder`."""
    for number in itertools.count(1):
        with contextlib.suppress(FileExistsError):
            path = folder / f"{number:04d}"
            path.mkdir(parents=True)
            return path
    raise AssertionError("unreachable")


def launch_environment(hardware: Hardware, placement: Placement) -> dict[str, str]:
    """Variables of a launch: threads, and for several processes on one machine a rendezvous port that torch binds
    itself, so that launches side by side cannot take each other's."""
    variables = thread_environment(hardware.threads_per_worker)
    if not placement.gpu:
        variables["ACCELERATE_USE_CPU"] = "true"
    if placement.num_nodes == 1 and placement.num_processes > 1:
        variables["PET_STANDALONE"] = "1"
    return variables


def accelerate_command(hardware: Hardware, placement: Placement) -> list[str]:
    """The command up to and including `-m` that starts a worker's processes on this machine."""
    command = [hardware.python or sys.executable, "-m", "accelerate.commands.launch"]
    command += ["--config_file", str(placement.config), "--num_processes", str(placement.num_processes)]
    command += ["--num_cpu_threads_per_process", str(hardware.threads_per_worker), "--main_process_port", "0"]
    if placement.num_processes > 1 and not placement.sharded:
        command.append("--multi_gpu")  # accelerate's word for several processes, on a CPU too
    return [*command, "-m"]


def cluster_command(hardware: Hardware, placement: Placement, run: Run) -> list[str]:
    """The command that trains a run elsewhere, short of the job file: the launch command, then a node's program."""
    assert hardware.launch_command is not None
    per_node = placement.num_processes // placement.num_nodes
    prefix = hardware.launch_command.format(
        nodes=placement.num_nodes, gpus=placement.num_processes, gpus_per_node=per_node, run=run.run_id
    )
    command = [*shlex.split(prefix), hardware.python or sys.executable, "-m", "tasks.train.cluster_node"]
    command += ["--config", str(placement.config), "--processes", str(placement.num_processes)]
    return [*command, "--nodes", str(placement.num_nodes), "--threads", str(hardware.threads_per_worker)]


def train_once(params: Params, run: Run, launcher: Launcher) -> dict[str, Any]:
    """Trains a run unless its folder proves it done; returns its manifest."""
    paths, fingerprint = StudyPaths.of(params), run_fingerprint(params, run)

    def body() -> tuple[list[str], dict[str, Any]]:
        facts = launcher.train(run, fingerprint)
        final = sorted(f"final/{path.name}" for path in paths.final(run).iterdir() if path.is_file())
        return [paths.metrics(run).name, paths.run_params(run).name, *final], facts

    return once(paths.run(run), "train", fingerprint, body)[0]
