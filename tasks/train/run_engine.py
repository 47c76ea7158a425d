"""The generation engine of a training run: opened anew, taken from the worker's last run, or shared by processes.

An engine that spans devices (vLLM with tensor parallelism) cannot be opened by every process. Consecutive processes of
a machine form a group, with a server all processes do; its leader opens the engine on the group's devices, gathers the
group's requests, generates them in one batch and scatters the completions. New weights pass through all processes,
because gathering shards is a collective call: vLLM's workers take them from the process on their own device, a server
from the leader. Completions do not depend on the grouping: every token's seed derives from its prompt, sample and
position. Nothing here waits for processes outside of the group, and nothing waits on NCCL.

Not covered: vLLM's own groups have not been run on GPUs here; the grouping and the transfer are tested over gloo.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tasks.sampling.engines import open_engine, stream
from tasks.sampling.protocol import Completion, Engine, GenerationBatch, Request, SamplingSettings, in_order
from tasks.sampling.vllm.buckets import BucketEngine, BucketSender
from tasks.sampling.vllm.device_memory import free_cached_memory, use_expandable_segments
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


class GlooGroup:
    """Some of a run's processes; see `buckets.Group`. All of them make every call; the first one leads."""

    def __init__(self, ranks: Sequence[int], group: dist.ProcessGroup) -> None:
        """Takes their ranks in the default group and a gloo group of them."""
        self._ranks, self._group = ranks, group
        self.rank = dist.get_rank(group)

    def all_gather(self, value: Any) -> list[Any]:
        """Every process's value, by rank; nobody returns before all have come."""
        values: list[Any] = [None] * len(self._ranks)
        dist.all_gather_object(values, value, group=self._group)
        return values

    def gather(self, value: Any) -> list[Any]:
        """Every process's value, by rank, on the leader; nothing on the others."""
        values: list[Any] = [None] * len(self._ranks) if self.rank == 0 else []
        dist.gather_object(value, values or None, dst=self._ranks[0], group=self._group)
        return values

    def scatter(self, values: list[Any]) -> Any:
        """This process's entry of the leader's list."""
        own: list[Any] = [None]
        dist.scatter_object_list(own, values or None, src=self._ranks[0], group=self._group)
        return own[0]

    def broadcast(self, value: Any) -> Any:
        """The leader's value."""
        values = [value]
        dist.broadcast_object_list(values, src=self._ranks[0], group=self._group)
        return values[0]


def form_groups(parallel: ParallelContext, size: int) -> GlooGroup:
    """Cuts a run's processes into groups of `size` consecutive ones; returns this process's. All make the call."""
    own: GlooGroup | None = None
    for start in range(0, parallel.world_size, size):
        ranks = range(start, min(start + size, parallel.world_size))
        group = dist.new_group(list(ranks), backend="gloo", timeout=timedelta(seconds=parallel.timeout_seconds))
        if parallel.rank in ranks:
            own = GlooGroup(ranks, group)
    assert own is not None
    return own


class SharedEngine(Engine):
    """An engine shared by a group of processes; see `tasks.sampling.protocol.Engine`. All of them make every call."""

    def __init__(self, parallel: ParallelContext, size: int, open_on: Callable[[int], Engine]) -> None:
        """Forms the groups and opens the engine on each leader.

        Args:
            parallel: the processes.
            size: processes per group; divides those of a machine.
            open_on: opens the engine; its argument is the leader's rank on its machine.
        """
        self._group = form_groups(parallel, size)
        self._engine = open_on(int(os.environ.get("LOCAL_RANK", "0"))) if self._group.rank == 0 else None
        layout = self._engine.bucket_layout if isinstance(self._engine, BucketEngine) else None
        self.name, layout = self._group.broadcast((self._engine.name, layout) if self._engine else None)
        device = parallel.accelerator.device
        self._sender = None if layout is None else BucketSender(layout, device, self._group)

    @property
    def restarted(self) -> bool:
        """Whether this process's engine has been restarted; False where the leader holds it."""
        return self._engine is not None and self._engine.restarted

    def generate(self, requests: Sequence[Request], settings: SamplingSettings) -> list[list[Completion]]:
        """Completes this process's requests; the group's are generated in one batch."""
        return in_order(self, requests, settings)

    def stream(self, batches: Sequence[GenerationBatch]) -> Iterator[tuple[int, int, list[Completion]]]:
        """Completes this process's batches; the group's are generated together and come back when all are finished.

        Every process gives equally many batches, with the same settings.
        """
        requests = self._group.gather([list(batch.requests) for batch in batches])
        answers: list[Any] = []
        if self._engine is not None:
            answers = _sample_together(self._engine, requests, [batch.settings for batch in batches])
        return iter(self._group.scatter(answers))

    def load(self, checkpoint: Path) -> str:
        """Replaces the weights by a checkpoint's."""
        return str(self._group.broadcast(self._engine.load(checkpoint) if self._engine else None))

    def update(self, weights: Iterable[tuple[str, torch.Tensor]]) -> str:
        """Replaces the weights; every process goes through all of them, one tensor at a time on its device."""
        free_cached_memory()
        self._group.all_gather(None)  # no engine wakes before every process beside it has given memory back
        fingerprint: str | None = None
        if isinstance(self._engine, BucketEngine) and self._sender is not None:
            fingerprint = self._engine.update_in_buckets(weights, self._sender)
        elif self._engine is not None:
            fingerprint = self._engine.update(weights)
        elif self._sender is not None:
            self._sender.send(weights)
        else:
            for _ in weights:
                pass
        return str(self._group.broadcast(fingerprint))

    def fingerprint(self) -> str:
        """Digest of the weights the engine samples with."""
        return str(self._group.broadcast(self._engine.fingerprint() if self._engine else None))

    def release(self) -> None:
        """Gives the device's memory back until the next update, where the engine can."""
        if self._engine is not None:
            self._engine.release()
        self._group.all_gather(None)

    def close(self) -> None:
        """Ends the leader's engine."""
        if self._engine is not None:
            self._engine.close()


def _sample_together(
    engine: Engine, requests: list[list[list[Request]]], settings: Sequence[SamplingSettings]
) -> list[list[tuple[int, int, list[Completion]]]]:
    """Samples several processes' batches at once.

    Args:
        engine: draws.
        requests: by process, then by batch.
        settings: of each batch.

    Returns:
        By process, what `protocol.StreamingEngine.stream` yields.
    """
    owners = [
        [(rank, index) for rank, parts in enumerate(requests) for index in range(len(parts[number]))]
        for number in range(len(settings))
    ]
    batches = [
        GenerationBatch([request for parts in requests for request in parts[number]], one)
        for number, one in enumerate(settings)
    ]
    answers: list[list[tuple[int, int, list[Completion]]]] = [[] for _ in requests]
    for number, place, completions in stream(engine, batches):
        rank, index = owners[number][place]
        answers[rank].append((number, index, completions))
    return answers


def open_sampler(params: Params, hardware: SizedHardware, parallel: ParallelContext, checkpoint: Path) -> Engine:
    """Opens the engine of a training run: one in each process, or one for each group of them.

    Raises:
        InputError: no such engine, it is not installed, or the model does not fit its part of a machine's devices.
    """
    train = params.train
    if train.engine == "vllm" and hardware.vllm.mode == "colocate":
        use_expandable_segments()
    context = train.sampling.max_prompt_tokens + train.sampling.max_completion_tokens
    if train.engine == "transformers" or parallel.world_size == 1:

        def open_single() -> Engine:
            return open_engine(train.engine, checkpoint, hardware, train.precision, context, colocated=True)

        if train.engine == "transformers" or hardware.vllm.mode == "server" or torch.cuda.is_available():
            return open_single()
        key = {"shape": digest_file(checkpoint / "config.json"), "precision": train.precision, "context": context}
        return ENGINE_CACHE.acquire(canonical_json(key | hardware.model_dump(mode="json")), checkpoint, open_single)
    num_local = int(os.environ.get("LOCAL_WORLD_SIZE", str(parallel.world_size)))
    # Of a group beside trainers `tasks.train.placement` has chosen the size; a server belongs to all of them.
    size = parallel.world_size if hardware.vllm.mode == "server" else hardware.vllm.tensor_parallel or num_local

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
