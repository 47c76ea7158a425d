"""The generation engine of a training run: opened anew, taken from the worker's last run, or shared by processes.

An engine that spans devices (vLLM with tensor parallelism) cannot be opened by every process. Consecutive processes of
a machine form a group; its leader opens the engine on the group's devices, gathers the group's requests, generates them
in one batch and scatters the completions. New weights pass through all processes, because gathering shards is a
collective call, and only the leader keeps them, in host memory. Completions do not depend on the grouping: every
token's seed derives from its prompt, sample and position.

Not covered: vLLM's own groups have not been run on GPUs here; the grouping itself is tested over gloo.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tasks.sampling.engines import open_engine
from tasks.sampling.protocol import Completion, Engine, Request, SamplingSettings
from tasks.study.manifests import canonical_json, digest_file
from tasks.study.params import Params, SizedHardware
from tasks.train.parallel import ParallelContext


class EngineCache:
    """At most one idle engine, kept for the next run of the same architecture.

    Starting vLLM takes half a minute, as long as a run of the miniature. A training worker on a CPU does many runs one
    after another, most of them of one size: the next run loads its checkpoint into the engine of the last one. After a
    failure the engine is ended. Workers on GPUs do one run each and keep no engine.
    """

    def __init__(self) -> None:
        """Empty."""
        self._idle: tuple[str, Engine] | None = None
        self._acquired: dict[int, str] = {}

    def acquire(self, key: str, checkpoint: Path, open_new: Callable[[], Engine]) -> Engine:
        """An engine with a checkpoint's weights: the idle one if it has this key, else a new one.

        Args:
            key: equal for runs that can share an engine.
            checkpoint: of the run.
            open_new: starts an engine on it.
        """
        idle, self._idle = self._idle, None
        if idle is not None and idle[0] == key:
            engine = idle[1]
            try:
                engine.load(checkpoint)
            except BaseException:
                engine.close()
                raise
        else:
            if idle is not None:
                idle[1].close()
            engine = open_new()
        self._acquired[id(engine)] = key
        return engine

    def release(self, engine: Engine, reusable: bool) -> None:
        """Keeps an engine that was acquired here and did its run without a restart; ends any other."""
        key = self._acquired.pop(id(engine), None)
        if key is None or not reusable or engine.restarted:
            engine.close()
            return
        self.clear()
        self._idle = (key, engine)

    def clear(self) -> None:
        """Ends the idle engine."""
        idle, self._idle = self._idle, None
        if idle is not None:
            idle[1].close()


ENGINE_CACHE = EngineCache()
atexit.register(ENGINE_CACHE.clear)


class SharedEngine(Engine):
    """An engine shared by a group of processes; see `tasks.sampling.protocol.Engine`. All of them make every call."""

    def __init__(self, parallel: ParallelContext, size: int, open_on: Callable[[int], Engine]) -> None:
        """Forms the groups and opens the engine on each leader.

        Args:
            parallel: the processes.
            size: processes per group; divides those of a machine.
            open_on: opens the engine; its argument is the leader's rank on its machine.
        """
        for start in range(0, parallel.world_size, size):
            ranks = list(range(start, start + size))
            group = dist.new_group(ranks, backend="gloo")
            if parallel.rank in ranks:
                self._group, self._ranks = group, ranks
        self._is_leader = parallel.rank == self._ranks[0]
        self._engine = open_on(int(os.environ.get("LOCAL_RANK", "0"))) if self._is_leader else None
        self.name = self._broadcast(self._engine.name if self._engine else None)

    @property
    def restarted(self) -> bool:
        """Whether this process's engine has been restarted; False where the leader holds it."""
        return self._engine is not None and self._engine.restarted

    def generate(self, requests: Sequence[Request], settings: SamplingSettings) -> list[list[Completion]]:
        """Completes this process's requests; the group's are generated in one batch."""
        gathered: list[Any] | None = [None] * len(self._ranks) if self._is_leader else None
        dist.gather_object(list(requests), gathered, dst=self._ranks[0], group=self._group)
        answers: list[Any] | None = None
        if self._engine is not None and gathered is not None:
            completions = iter(self._engine.generate([request for part in gathered for request in part], settings))
            answers = [[next(completions) for _ in part] for part in gathered]
        scattered: list[Any] = [None]
        dist.scatter_object_list(scattered, answers, src=self._ranks[0], group=self._group)
        return list(scattered[0])

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
        values = [value]
        dist.broadcast_object_list(values, src=self._ranks[0], group=self._group)
        return str(values[0])


def open_sampler(params: Params, hardware: SizedHardware, parallel: ParallelContext, checkpoint: Path) -> Engine:
    """Opens the engine of a training run: one in each process, or one for each group of them.

    Raises:
        InputError: no such engine, it is not installed, or the model does not fit its part of a machine's devices.
    """
    train = params.train
    context = train.sampling.max_prompt_tokens + train.sampling.max_completion_tokens
    if train.engine == "transformers" or parallel.world_size == 1:

        def open_single() -> Engine:
            return open_engine(train.engine, checkpoint, hardware, train.precision, context, colocated=True)

        if train.engine == "transformers" or hardware.vllm.mode == "server" or torch.cuda.is_available():
            return open_single()
        key = {"shape": digest_file(checkpoint / "config.json"), "precision": train.precision, "context": context}
        return ENGINE_CACHE.acquire(canonical_json(key | hardware.model_dump(mode="json")), checkpoint, open_single)
    num_local = int(os.environ.get("LOCAL_WORLD_SIZE", str(parallel.world_size)))
    size = hardware.vllm.tensor_parallel or num_local  # chosen by `tasks.train.placement` where it is null

    def open_group(first: int) -> Engine:
        if parallel.accelerator.device.type == "cuda":
            # CUDA is initialized in this process and ignores the variable from then on; the engine's processes read it.
            visible = os.environ.get("CUDA_VISIBLE_DEVICES")
            names = visible.split(",") if visible else [str(index) for index in range(num_local)]
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names[first : first + size])
        vllm = hardware.vllm.model_copy(update={"tensor_parallel": size})
        group_hardware = hardware.model_copy(update={"vllm": vllm})
        return open_engine(train.engine, checkpoint, group_hardware, train.precision, context, colocated=True)

    return SharedEngine(parallel, size, open_group)
