"""Hands evaluation to worker processes: PyTorch is imported once per worker, and the caller never imports it.

On a CPU there is one worker per core (or `hardware.workers`) and they take the sizes one after another. On a GPU
machine each request has a worker on devices of its own, as training runs do; the worker's end frees them whatever an
engine left behind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.evaluate.run import EvaluationRequest, pending_requests, run_request
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
        slots = usable_cores() // params.hardware.threads_per_worker
        if self.devices:
            slots = len(self.devices) // min(self._num_gpus(policy.size) for policy in list_policies(params))
        self.slots = params.hardware.workers or max(1, slots)

    def run(self, request: EvaluationRequest) -> int:
        """Evaluates what is missing of a request; returns how many pairs were done.

        Raises:
            InputError: as `run_request`.
            WorkerDied: the worker ended; finished pairs are kept, so trying again continues.
            JobFailed: the evaluation raised.
            WorkCancelled: the launcher was closed.
        """
        if not pending_requests(request):
            return 0
        own_engine = self.devices and request.server is None
        with self.lease(num_gpus=self._num_gpus(request.policies[0].size) if own_engine else 0) as worker:
            return int(worker.run("tasks.evaluate.launch:evaluate_job", {"request": to_json(request)}))

    def _num_gpus(self, size: str) -> int:
        """GPUs of one engine for a size: as many as a run trains on, at most all of this machine's.

        Raises:
            InputError: `hardware.vllm.tensor_parallel` asks for more than there are.
        """
        hardware, visible = self.params.hardware, len(self.devices)
        tensor_parallel = hardware.of_size(size).vllm.tensor_parallel
        if tensor_parallel is not None and tensor_parallel > visible:
            raise InputError(f"hardware.vllm.tensor_parallel asks for {tensor_parallel} GPUs, {visible} are visible")
        return tensor_parallel or min(visible, hardware.gpus_per_run.get(size, 1))


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
