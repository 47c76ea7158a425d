"""Memory and traffic of a run's update, measured without its devices: the project's own code on fake tensors.

Policy and reference are built and sharded as in training, over a process group that moves nothing, and two updates run
on micro-batches as large as the token budget allows. Fake tensors have shapes and no data; a dispatch mode adds up the
bytes of their storages as they come and go, and the bytes that the collectives move. Live bytes are exact for what
PyTorch allocates; kernels' own workspaces, contexts, communication buffers and fragmentation are not in them.

Not covered: adapters, float32 on several devices (DDP is not sharded; its estimate is plain arithmetic).
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools import fake_collectives  # noqa: F401  (registers the collectives for fake tensors)
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from tasks.costs.memory import Devices
from tasks.policy.policy_model import Policy
from tasks.sampling.protocol import Completion
from tasks.study.params import Params, SizedHardware
from tasks.train.batching import MicroBatch, RolloutGroup, minibatch_size, pack_micro_batch
from tasks.train.parallel import ParallelContext, build_on_meta, shard
from tasks.train.update import PolicyUpdater

GATHER, REDUCE = "gather", "reduce"
_COLLECTIVES = {"_allgather_base_": GATHER, "_reduce_scatter_base_": REDUCE, "allreduce_": REDUCE}


@dataclass
class Measurement:
    """What two updates on one device came to.

    Attributes:
        resident: bytes allocated before and after; gradients are freed by then.
        peak: bytes at the fullest moment.
        rows: packed rows of a micro-batch.
        calls: collective calls of a micro-batch in the second update, by kind; what is not sharded has none.
        moved: bytes of their whole tensors, by kind.
    """

    resident: int = 0
    peak: int = 0
    rows: int = 0
    calls: dict[str, int] = field(default_factory=dict)
    moved: dict[str, int] = field(default_factory=dict)


class _Meter(TorchDispatchMode):
    """Adds up the bytes of the storages that live while it is on, and what collectives move."""

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self.calls = {GATHER: 0, REDUCE: 0}
        self.moved = {GATHER: 0, REDUCE: 0}
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return 0.0  # a number that the host asks for: there is none
        out = func(*args, **(kwargs or {}))
        namespace, _, name = func._schema.name.partition("::")
        if namespace == "c10d" and name in _COLLECTIVES:
            kind = _COLLECTIVES[name]
            self.calls[kind] += 1
            self.moved[kind] += max(t.numel() * t.element_size() for t in args[:2] if isinstance(t, torch.Tensor))
        tree_map_only(torch.Tensor, self._see, out)
        return out

    def _see(self, tensor: torch.Tensor) -> None:
        if isinstance(tensor, DTensor):
            tensor = tensor._local_tensor
        storage = tensor.untyped_storage()
        if tensor.device.type != "meta" and storage._cdata not in self._sizes:
            weakref.finalize(storage, self._set, storage._cdata, None)
            self._set(storage._cdata, storage.nbytes())

    def _set(self, key: int, size: int | None) -> None:
        """A storage came, was resized, or went (None)."""
        self.live += (size or 0) - self._sizes.pop(key, 0)
        if size is not None:
            self._sizes[key] = size
        self.peak = max(self.peak, self.live)

    @contextlib.contextmanager
    def resizes(self) -> Iterator[None]:
        """Sees storages resized: FSDP2 frees gathered parameters so."""
        original = torch.UntypedStorage.resize_

        def resize(storage: torch.UntypedStorage, size: int) -> torch.UntypedStorage:
            original(storage, size)
            if storage._cdata in self._sizes:
                self._set(storage._cdata, size)
            return storage

        torch.UntypedStorage.resize_ = resize  # type: ignore[method-assign, assignment]
        try:
            yield
        finally:
            torch.UntypedStorage.resize_ = original  # type: ignore[method-assign]


class _FirstOf:
    """Stands for the accelerator of the first of several processes."""

    device = torch.device("cpu")
    process_index = 0

    def __init__(self, num_processes: int) -> None:
        self.num_processes = num_processes

    def backward(self, loss: torch.Tensor) -> None:
        loss.backward()

    def reduce(self, tensor: torch.Tensor, _: str) -> torch.Tensor:
        return tensor


@contextlib.contextmanager
def _fake_processes(count: int) -> Iterator[DeviceMesh]:
    """A process group of `count` members that moves nothing; this process is the first."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=count)
    try:
        yield init_device_mesh("cpu", (count,))
    finally:
        dist.destroy_process_group()


def measure_update(params: Params, hardware: SizedHardware, config: dict[str, Any], devices: Devices) -> Measurement:
    """Runs two updates of a run on fake tensors; the process must not have a process group.

    Args:
        params: the study; full fine-tuning in bfloat16, or float32 that is sharded.
        hardware: the run's own.
        config: the model's `config.json`.
        devices: the run's devices.
    """
    meter, device = _Meter(), torch.device("cpu")
    accelerator: Any = _FirstOf(devices.count)
    parallel = ParallelContext(accelerator, "fsdp", params.train.precision)
    policy, reference = (_on_meta(config, dtype) for dtype in (torch.float32, getattr(torch, parallel.precision)))
    with (
        _fake_processes(devices.count) as mesh,
        meter.resizes(),
        FakeTensorMode(allow_non_fake_inputs=True),
        meter,
    ):
        shard(policy, parallel, mesh, frozen=False)
        shard(reference.requires_grad_(False), parallel, mesh, frozen=True)
        updater = _updater(params, hardware, parallel, policy, reference)
        groups = fullest_groups(params, hardware.token_budget)
        objective = params.train.objective
        whole = minibatch_size(groups, params.train.sampling.max_completion_tokens, objective)
        micro = pack_micro_batch(groups, whole, objective, device, varlen=True)
        return _two_updates(updater, micro, meter)


def _on_meta(config: dict[str, Any], dtype: torch.dtype) -> Policy:
    """A policy without memory, from a `config.json`."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps({"model_type": "qwen2"} | config))
        return Policy(build_on_meta(Path(folder), dtype))


def _updater(
    params: Params, hardware: SizedHardware, parallel: ParallelContext, policy: Policy, reference: Policy
) -> PolicyUpdater:
    """The updater as `tasks.train.context` builds it."""
    if hardware.gradient_checkpointing:
        policy.model.gradient_checkpointing_enable({"use_reentrant": False})
        policy.train()
    return PolicyUpdater(
        parallel=parallel,
        policy=policy,
        reference=reference if params.train.objective.kl_coefficient > 0 else None,
        optimizer=torch.optim.AdamW(policy.parameters(), lr=1e-6, fused=True),
        objective=params.train.objective,
        temperature=1.0,
        sampler_is_exact=False,
        settings=params.train.optimizer,
    )


def _two_updates(updater: PolicyUpdater, micro: MicroBatch, meter: _Meter) -> Measurement:
    """Two updates, so that the optimiser's state is there in the second, which has two micro-batches."""
    updater.step([[micro]], 1, "first")
    before = [dict(meter.calls), dict(meter.moved)]
    updater.step([[micro, micro]], 2, "second")
    calls, moved = (
        {kind: (after[kind] - old[kind]) // 2 for kind in after}
        for after, old in zip((meter.calls, meter.moved), before, strict=True)
    )
    return Measurement(meter.live, meter.peak, int(micro.packed.input_ids.numel()), calls, moved)


def fullest_groups(params: Params, token_budget: int) -> list[RolloutGroup]:
    """Groups of one completion that fill a micro-batch: sequences of full length, then one of what is left."""
    sampling = params.train.sampling
    longest = sampling.max_prompt_tokens + sampling.max_completion_tokens - 1
    sizes: list[tuple[int, int]] = []
    left = max(token_budget, longest)
    while left >= longest:
        sizes.append((sampling.max_prompt_tokens, sampling.max_completion_tokens))
        left -= longest
    if left > 2:
        prompt = min(sampling.max_prompt_tokens, left // 3)
        sizes.append((prompt, left - prompt + 1))
    return [RolloutGroup(str(index), _ids(p), (_completion(c),), (0.0,), (0.0,)) for index, (p, c) in enumerate(sizes)]


def _ids(count: int) -> tuple[int, ...]:
    return tuple(range(count))


def _completion(length: int) -> Completion:
    return Completion(_ids(length), (0.0,) * length, "length")
