"""Hands evaluation to worker processes: PyTorch is imported once per worker, and the caller never imports it.

On a CPU there is one worker per core (or `hardware.workers`) and they take the sizes one after another. On a GPU
machine each worker reserves devices of its own, as training runs do, and ends with its order, which frees them whatever
an engine left behind.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from tasks.evaluate.run import EvaluationRequest, pending_requests, run_request
from tasks.runtime.gpu_locks import lease_gpus, lock_folder, read_devices
from tasks.runtime.workers import WorkCancelled, Worker, thread_environment
from tasks.study.errors import InputError
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.policies import list_policies


class Launcher:
    """Worker processes for evaluation; a context manager. Threads may share it.

    Attributes:
        slots: orders that run side by side.
    """

    def __init__(self, params: Params) -> None:
        """Looks at the machine; starts no process before an order needs one.

        Raises:
            InputError: `hardware.vllm.tensor_parallel` asks for more GPUs than there are.
        """
        self._hardware = params.hardware
        self._devices = read_devices(os.environ.get("CUDA_VISIBLE_DEVICES"))
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        share = cores // self._hardware.threads_per_worker
        if self._devices:
            share = len(self._devices) // min(self._width(subject.size) for subject in list_policies(params))
        self.slots = self._hardware.workers or max(1, share)
        self._log = StudyPaths.of(params).stage("evaluate") / "workers.log"
        self._log.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._idle: list[Worker] = []
        self._all: set[Worker] = set()

    def run(self, order: EvaluationRequest) -> int:
        """Evaluates what is missing of an order; returns how many pairs were done.

        Raises:
            InputError: as `run_request`.
            WorkerDied: the worker ended; finished pairs are kept, so trying again continues.
            JobFailed: the evaluation raised.
            Stopped: the launcher was closed.
        """
        if not pending_requests(order):
            return 0
        if not self._devices or order.server is not None:
            with self._lock:
                worker = self._idle.pop() if self._idle else None
            worker = worker or self._new({})
            done = self._evaluate(worker, order)
            with self._lock:
                self._idle.append(worker)
            return done
        try:
            with lease_gpus(self._devices, self._width(order.policies[0].size), lock_folder(), self._stop) as (
                devices,
                handles,
            ):
                names = {"CUDA_VISIBLE_DEVICES": ",".join(device.name for device in devices)}
                return self._evaluate(self._new(names, handles), order, once=True)
        except InterruptedError as error:
            raise WorkCancelled(str(error)) from error

    def _width(self, size: str) -> int:
        """GPUs of one engine for a size: as many as a run trains on, at most all of this machine's.

        Raises:
            InputError: `hardware.vllm.tensor_parallel` asks for more than there are.
        """
        asked, there = self._hardware.vllm.tensor_parallel, len(self._devices)
        if asked is not None and asked > there:
            raise InputError(f"hardware.vllm.tensor_parallel asks for {asked} GPUs, {there} are visible")
        return asked or min(there, self._hardware.gpus_per_run.get(size, 1))

    def _new(self, variables: dict[str, str], handles: Sequence[int] = ()) -> Worker:
        environment = thread_environment(self._hardware.threads_per_worker) | variables
        worker = Worker([self._hardware.python or sys.executable, "-m"], environment, self._log, pass_fds=handles)
        with self._lock:
            if self._stop.is_set():
                raise WorkCancelled("the launcher is closed")
            self._all.add(worker)
        return worker

    def _evaluate(self, worker: Worker, order: EvaluationRequest, once: bool = False) -> int:
        """Has a worker do an order; one that fails is ended, as is one that has devices of its own."""
        failed = True
        try:
            done = int(worker.run("tasks.evaluate.launch:evaluate_job", {"order": to_json(order)}))
            failed = False
            return done
        finally:
            if failed or once:
                worker.close()
                with self._lock:
                    self._all.discard(worker)

    def close(self) -> None:
        """Ends the workers permanently."""
        self._stop.set()
        with self._lock:
            workers = list(self._all)
        for worker in workers:
            worker.end()

    def __enter__(self) -> Launcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def to_json(order: EvaluationRequest) -> dict[str, object]:
    """An order as JSON values; subjects go by name."""
    return {
        "params": order.params.model_dump_json(),
        "subjects": [subject.name for subject in order.policies],
        "benchmarks": list(order.benchmarks),
        "root": str(order.root) if order.root else None,
        "server": order.server,
    }


def evaluate_job(order: dict[str, object]) -> int:
    """What a worker does: an order from its JSON values."""
    params = Params.model_validate_json(str(order["params"]))
    wanted = order["subjects"]
    assert isinstance(wanted, list)
    subjects = tuple(subject for subject in list_policies(params) if subject.name in wanted)
    benchmarks = order["benchmarks"]
    assert isinstance(benchmarks, list)
    root = Path(str(order["root"])) if order["root"] else None
    server = str(order["server"]) if order["server"] else None
    return run_request(EvaluationRequest(params, subjects, tuple(benchmarks), root, server))
