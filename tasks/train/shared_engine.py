"""One generation engine for several training processes: the first of them holds it, the others ask through it.

An engine that spans devices (vLLM with tensor parallelism) cannot be opened by every process. Consecutive processes of
a machine form a group; its leader opens the engine on the group's devices, gathers the group's requests, draws them in
one batch and hands the completions back. New weights pass through all processes, because gathering shards takes all,
and only the leader keeps them, in host memory. Completions do not depend on the grouping: every token's randomness
derives from its prompt, sample and position.

Not covered: vLLM's own groups have not been run on GPUs here; the grouping itself is tested over gloo.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tasks.costs.memory import devices_per_engine, read_shape
from tasks.sampling.engines import open_engine
from tasks.sampling.protocol import Completion, Engine, Request, SamplingSettings
from tasks.study.manifests import canonical_json, digest_file
from tasks.study.params import Params
from tasks.train.engine_cache import ENGINE_CACHE
from tasks.train.parallel import ParallelContext


class SharedEngine(Engine):
    """An engine shared by a group of processes; see `tasks.sampling.protocol.Engine`. All of them make every call."""

    def __init__(self, spread: ParallelContext, size: int, opened: Callable[[int], Engine]) -> None:
        """Forms the groups and opens the engine on each leader.

        Args:
            spread: the processes.
            size: processes of a group; divides those of a machine.
            opened: opens the engine; is given the leader's number on its machine.
        """
        for start in range(0, spread.world_size, size):
            ranks = list(range(start, start + size))
            group = dist.new_group(ranks, backend="gloo")
            if spread.rank in ranks:
                self._group, self._ranks = group, ranks
        self._leads = spread.rank == self._ranks[0]
        self._engine = opened(int(os.environ.get("LOCAL_RANK", "0"))) if self._leads else None
        self.name = self._broadcast(self._engine.name if self._engine else None)

    @property
    def restarted(self) -> bool:
        """Whether this process's engine has been restarted; False where the leader holds it."""
        return self._engine is not None and self._engine.restarted

    def generate(self, requests: Sequence[Request], settings: SamplingSettings) -> list[list[Completion]]:
        """Completes this process's requests; the group's are drawn in one batch."""
        asked: list[Any] | None = [None] * len(self._ranks) if self._leads else None
        dist.gather_object(list(requests), asked, dst=self._ranks[0], group=self._group)
        answers: list[Any] | None = None
        if self._engine is not None and asked is not None:
            drawn = iter(self._engine.generate([request for part in asked for request in part], settings))
            answers = [[next(drawn) for _ in part] for part in asked]
        mine: list[Any] = [None]
        dist.scatter_object_list(mine, answers, src=self._ranks[0], group=self._group)
        return list(mine[0])

    def load(self, checkpoint: Path) -> str:
        """Replaces the weights by a checkpoint's."""
        return self._broadcast(self._engine.load(checkpoint) if self._engine else None)

    def update(self, weights: Iterable[tuple[str, torch.Tensor]]) -> str:
        """Replaces the weights; every process goes through all of them, one tensor at a time on its device."""
        if self._engine is not None:
            return self._broadcast(self._engine.update((name, tensor.cpu()) for name, tensor in weights))
        for _ in weights:
            pass
        return self._broadcast(None)

    def fingerprint(self) -> str:
        """Digest of the weights the engine samples with."""
        return self._broadcast(self._engine.fingerprint() if self._engine else None)

    def release(self) -> None:
        """Gives the device's memory back until the next update, where the engine can."""
        if self._engine is not None:
            self._engine.release()
        dist.barrier(group=self._group)

    def close(self) -> None:
        """Ends the leader's engine."""
        if self._engine is not None:
            self._engine.close()

    def _broadcast(self, value: str | None) -> str:
        held = [value]
        dist.broadcast_object_list(held, src=self._ranks[0], group=self._group)
        return str(held[0])


def open_sampler(params: Params, parallel: ParallelContext, checkpoint: Path) -> Engine:
    """Opens the engine of a training run: one in each process, or one for each group of them.

    Raises:
        InputError: no such engine, it is not installed, or the model does not fit its share of a machine's devices.
    """
    train, hardware = params.train, params.hardware
    context = train.sampling.max_prompt_tokens + train.sampling.max_completion_tokens
    if train.engine == "transformers" or parallel.world_size == 1:

        def alone() -> Engine:
            return open_engine(train.engine, checkpoint, hardware, train.precision, context, colocated=True)

        if train.engine == "transformers" or hardware.vllm.mode == "server" or torch.cuda.is_available():
            return alone()
        kind = {"shape": digest_file(checkpoint / "config.json"), "precision": train.precision, "context": context}
        return ENGINE_CACHE.acquire(canonical_json(kind | hardware.model_dump(mode="json")), checkpoint, alone)
    local = int(os.environ.get("LOCAL_WORLD_SIZE", str(parallel.world_size)))
    size = local
    if hardware.vllm.mode == "colocate" and parallel.accelerator.device.type == "cuda":
        capacity = torch.cuda.get_device_properties(parallel.accelerator.device).total_memory
        size = devices_per_engine(params, read_shape(checkpoint), local, float(capacity))

    def opened(first: int) -> Engine:
        if parallel.accelerator.device.type == "cuda":
            # CUDA is up in this process and reads the variable no more; the engine's processes do.
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            names = visible.split(",") if visible else [str(index) for index in range(local)]
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names[first : first + size])
        vllm = hardware.vllm.model_copy(update={"tensor_parallel": size})
        own = hardware.model_copy(update={"vllm": vllm})
        return open_engine(train.engine, checkpoint, own, train.precision, context, colocated=True)

    return SharedEngine(parallel, size, opened)
