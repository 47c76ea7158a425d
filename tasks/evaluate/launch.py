"""Hands evaluation to worker processes: PyTorch is imported once per worker, and the caller never imports it.

On a CPU there is one worker per core (or `hardware.workers`) and they take the sizes one after another. On a GPU
machine each request has a worker on devices of its own, as training runs do; the worker's end frees them whatever an
engine left behind. With `hardware.executor` each request is a job of a cluster.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.evaluate.run import EvaluationRequest, pending_requests, run_request
from tasks.runtime.executors import WorkOrder
from tasks.runtime.launcher import Launcher
from tasks.runtime.machine import usable_cores
from tasks.study.errors import InputError
from tasks.study.params import Params
from tasks.study.policies import list_policies


class EvaluationLauncher(Launcher):
    """Worker processes for evaluation; its slots are the requests that run side by side."""

    def __init__(self, params: Params) -> None:
        """Looks at the machine; starts no process before a request needs one.

        Raises:
            InputError: `hardware.vllm.tensor_parallel` asks for more GPUs than there are.
        """
        super().__init__(params, "evaluate")
        sizes = dict.fromkeys(policy.size for policy in list_policies(params))
        smallest = min(self._num_gpus(size) for size in sizes)
        if params.hardware.workers is None and self.executor is None:
            free = len(self.devices) // smallest if smallest else usable_cores() // params.hardware.threads_per_worker
            self.slots = max(1, free)

    def run(self, request: EvaluationRequest) -> int:
        """Evaluates what is missing of a request; returns how many pairs were done.

        Raises:
            InputError: as `run_request`.
            WorkerDied: the worker was lost again and again; finished pairs are kept, so trying again continues.
            JobFailed: the evaluation raised.
            WorkCancelled: the launcher was closed.
        """
        pending = _count_pending(request)
        if not pending:
            return 0
        size = request.policies[0].size
        num_gpus = self._num_gpus(size) if request.server is None else 0
        order = WorkOrder(f"evaluate-{size}", self.log.parent, num_gpus=num_gpus)

        def attempt() -> int:
            with self.lease(order) as worker:
                return int(worker.run("tasks.evaluate.launch:evaluate_job", {"request": to_json(request)}))

        self.keep_trying(order.name, attempt, lambda: f"{_count_pending(request)} missing scores")
        return pending

    def _num_gpus(self, size: str) -> int:
        """GPUs of one engine for a size: as many as a run trains on, at most all of a machine's.

        Raises:
            InputError: `hardware.vllm.tensor_parallel` asks for more than there are.
        """
        hardware = self.params.hardware
        visible = len(self.devices) if self.executor is None else hardware.gpus_per_node
        if not visible:
            return 0
        tensor_parallel = hardware.of_size(size).vllm.tensor_parallel
        if tensor_parallel is not None and tensor_parallel > visible:
            raise InputError(f"hardware.vllm.tensor_parallel asks for {tensor_parallel} GPUs, {visible} are visible")
        return tensor_parallel or min(visible, hardware.gpus_per_run.get(size, 1))


def _count_pending(request: EvaluationRequest) -> int:
    return sum(len(names) for _, names in pending_requests(request))


def to_json(request: EvaluationRequest) -> dict[str, Any]:
    """A request as JSON values; policies go by name."""
    return {
        "params": request.params.model_dump_json(),
        "policies": [policy.name for policy in request.policies],
        "benchmarks": list(request.benchmarks),
        "root": str(request.root) if request.root else None,
        "server": request.server,
    }


def evaluate_job(request: dict[str, Any]) -> int:
    """What a worker does: a request from its JSON values."""
    params = Params.model_validate_json(request["params"])
    policies = tuple(policy for policy in list_policies(params) if policy.name in request["policies"])
    root = Path(request["root"]) if request["root"] else None
    return run_request(EvaluationRequest(params, policies, tuple(request["benchmarks"]), root, request["server"]))
