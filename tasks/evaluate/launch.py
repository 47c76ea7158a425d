"""Hands evaluation to worker processes: PyTorch is imported once per worker, and the caller never imports it.

On a CPU there is one worker per core (or `hardware.workers`) and they take the sizes one after another. On a GPU
machine each worker has devices of its own and ends with its order, which frees them whatever an engine left behind.
"""

from __future__ import annotations

import os
import queue
import sys
from pathlib import Path
from types import TracebackType

from tasks.evaluate.session import Order, evaluate_order, outstanding
from tasks.evaluate.subjects import list_subjects
from tasks.layout import Layout
from tasks.params import Params
from tasks.workers import Worker, thread_environment


def visible_devices() -> list[str]:
    """GPUs this process may use, by CUDA index; empty on a CPU machine."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name]
    return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))


def device_sets(devices: list[str], width: int) -> list[str]:
    """Splits the devices into disjoint sets of `width`, as values of CUDA_VISIBLE_DEVICES.

    Raises:
        ValueError: there are fewer devices than one set needs.
    """
    sets = [",".join(devices[start : start + width]) for start in range(0, len(devices) - width + 1, width)]
    if not sets:
        raise ValueError(f"an engine needs {width} GPUs, {len(devices)} are visible")
    return sets


class Launcher:
    """Worker processes for evaluation; a context manager. Threads may share it.

    Attributes:
        slots: orders that run side by side.
    """

    def __init__(self, params: Params) -> None:
        """Decides how many workers there are; starts none before an order needs one."""
        hardware, devices = params.hardware, visible_devices()
        environment = thread_environment(hardware.threads_per_worker)
        if devices:
            sizes = {subject.size for subject in list_subjects(params)}
            widths = [hardware.vllm.tensor_parallel or hardware.gpus_per_run.get(size, 1) for size in sizes]
            places = [{"CUDA_VISIBLE_DEVICES": value} for value in device_sets(devices, max(widths))]
        else:
            cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
            places = [{}] * max(1, cores // hardware.threads_per_worker)
        places = places[: hardware.workers] if devices or not hardware.workers else [{}] * hardware.workers
        self.slots = len(places)
        self._single_use = bool(devices)
        command = [hardware.python or sys.executable, "-m"]
        log = Layout.of(params).stage("evaluate") / "workers.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        self._workers = [Worker(command, environment | place, log) for place in places]
        self._free: queue.Queue[Worker] = queue.Queue()
        for worker in self._workers:
            self._free.put(worker)

    def run(self, order: Order) -> int:
        """Evaluates what is missing of an order; returns how many pairs were done.

        Raises:
            InputError: as `evaluate_order`.
            WorkerDied: the worker ended; finished pairs are kept, so trying again continues.
            JobFailed: the evaluation raised.
        """
        if not outstanding(order):
            return 0
        worker = self._free.get()
        try:
            return int(worker.run("tasks.evaluate.launch:evaluate_job", {"order": to_json(order)}))
        finally:
            if self._single_use:
                worker.close()
            self._free.put(worker)

    def close(self) -> None:
        """Ends the workers for good."""
        for worker in self._workers:
            worker.end()

    def __enter__(self) -> Launcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def to_json(order: Order) -> dict[str, object]:
    """An order as JSON values; subjects go by name."""
    return {
        "params": order.params.model_dump_json(),
        "subjects": [subject.name for subject in order.subjects],
        "benchmarks": list(order.benchmarks),
        "root": str(order.root) if order.root else None,
        "server": order.server,
    }


def evaluate_job(order: dict[str, object]) -> int:
    """What a worker does: an order from its JSON values."""
    params = Params.model_validate_json(str(order["params"]))
    wanted = order["subjects"]
    assert isinstance(wanted, list)
    subjects = tuple(subject for subject in list_subjects(params) if subject.name in wanted)
    benchmarks = order["benchmarks"]
    assert isinstance(benchmarks, list)
    root = Path(str(order["root"])) if order["root"] else None
    server = str(order["server"]) if order["server"] else None
    return evaluate_order(Order(params, subjects, tuple(benchmarks), root, server))
