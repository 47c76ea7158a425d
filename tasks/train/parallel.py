"""How the policy is distributed over processes: one process, whole in each (DDP), or sharded (FSDP2).

Difference from `accelerator.prepare`: accelerate 1.15 shards on accelerators only and ignores FSDP on a CPU. Here
`fully_shard` is applied directly, over a device mesh of whatever the processes have, so what runs on 32 GPUs is what
the tests run on two CPU processes. Launching, devices, the process group and reductions stay accelerate's.

- One unit per decoder layer, one for an input embedding of its own; last norm and output layer belong to the root,
  whose parameters are whole during its forward pass: the chunked log-probabilities read the output embedding there.
- Loading never holds the model whole: modules are built on the meta device, sharded, and every process reads its own
  rows of the checkpoint's files.
- bfloat16 is FSDP2's mixed precision, on one process too: float32 master shards, gradients reduced in float32.
- Sharded gradients are reduced after every micro-batch. Leaving that to the last one, as DDP does, would keep the whole
  gradient on every device, which sharding is to avoid.

- What may take minutes (files, an engine's start) is waited for over gloo, on the hosts: NCCL's kernels would spin and
  its watchdog ends whoever waits too long.

Not covered: equal bits for different numbers of processes (sums are taken in another order), and DDP on more than two
processes between an interrupted and an uninterrupted run (its buckets are laid out anew).
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from accelerate import Accelerator, init_empty_weights
from accelerate.utils import InitProcessGroupKwargs
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

from tasks.policy.policy_model import Policy, load_model
from tasks.study.errors import InputError
from tasks.study.params import Lora
from tasks.train.lora import ADAPTER, adapted_layers, add_adapters, base_name, initial_adapter, is_adapter
from tasks.train.sharded_files import ShardedSafetensors

Mode = Literal["single", "ddp", "fsdp"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class ParallelContext:
    """The processes of a run and how the policy is distributed over them.

    Attributes:
        accelerator: owns the processes and the device.
        mode: single, ddp or fsdp (FSDP2).
        precision: of the forward and backward pass; master weights are float32.
        timeout_seconds: a process that others wait for so long counts as lost.
    """

    accelerator: Accelerator
    mode: Mode
    precision: Precision
    timeout_seconds: float = 3600.0

    @property
    def rank(self) -> int:
        """This process's number."""
        return int(self.accelerator.process_index)

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return int(self.accelerator.num_processes)

    @property
    def num_shards(self) -> int:
        """Number of processes that hold a part of their own, to be written to a checkpoint."""
        return self.world_size if self.mode == "fsdp" else 1

    def all_gather_object(self, value: Any, purpose: str = "training") -> list[Any]:
        """Every process's value, by rank, over the hosts' network; also a barrier.

        Args:
            value: can be pickled.
            purpose: gatherings of several purposes may be under way at once, each in a thread of its own.
        """
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=_gloo_group(purpose, self.timeout_seconds))
        return values

    def barrier(self) -> None:
        """Waits for every process, on the host: it may take as long as `timeout_seconds`."""
        self.all_gather_object(None)

    def any_process(self, condition: bool) -> bool:
        """Whether the condition holds on any process; the answer is the same on all."""
        return any(self.all_gather_object(condition))

    @contextlib.contextmanager
    def grad_sync(self, policy: torch.nn.Module, last: bool) -> Iterator[None]:
        """Around a micro-batch's forward and backward: with DDP, only a minibatch's last one reduces gradients."""
        if last or self.mode != "ddp":
            yield
        else:
            with self.accelerator.no_sync(policy):
                yield

    def clip_grad_norm(self, policy: torch.nn.Module, limit: float) -> float:
        """Clips the global gradient norm; returns it as it was before, equal on all processes."""
        if self.mode != "fsdp":
            return float(self.accelerator.clip_grad_norm_(policy.parameters(), limit))
        norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), limit)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


@functools.cache
def _gloo_group(purpose: str, timeout_seconds: float) -> dist.ProcessGroup:
    """A group of all processes over gloo, made at the first call, which every process makes."""
    assert purpose in ("training", "checkpoint")
    return dist.new_group(backend="gloo", timeout=datetime.timedelta(seconds=timeout_seconds))


def init_parallel(precision: Precision, timeout_seconds: float = 3600.0) -> ParallelContext:
    """Joins the processes that the launcher started; the mode is read from the accelerate config's environment.

    Args:
        precision: of the forward and backward pass.
        timeout_seconds: of every collective call.

    Raises:
        InputError: the config asks for FSDP's first version.
    """
    timeout = InitProcessGroupKwargs(timeout=datetime.timedelta(seconds=timeout_seconds))
    accelerator = Accelerator(mixed_precision="no", kwargs_handlers=[timeout])
    wants_fsdp = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"
    if wants_fsdp and os.environ.get("FSDP_VERSION") != "2":
        raise InputError("hardware.accelerate_config: fsdp_config.fsdp_version must be 2")
    mode: Mode = "ddp" if accelerator.num_processes > 1 else "single"
    if wants_fsdp or precision == "bfloat16":
        mode = "fsdp"
        if not dist.is_initialized():
            backend = "gloo" if accelerator.device.type == "cpu" else "nccl"
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    parallel = ParallelContext(accelerator, mode, precision, timeout_seconds)
    for purpose in ("training", "checkpoint"):  # in one order everywhere, not when a thread happens to come first
        parallel.all_gather_object(None, purpose)
    return parallel


def build_policy(
    parallel: ParallelContext,
    checkpoint: Path,
    lora: Lora | None = None,
    seed: int = 0,
    frozen: bool = False,
    float32_head: bool = False,
) -> Policy:
    """Loads a checkpoint as a policy with float32 master weights, sharded where the mode says so.

    Args:
        parallel: the processes.
        checkpoint: folder of a transformers checkpoint.
        lora: adapters to add.
        seed: of the adapters' initial values.
        frozen: whether it will never be trained (the reference policy).
        float32_head: whether the output layer's products are float32 whatever the precision.

    Raises:
        InputError: there is no loadable checkpoint.
    """
    sharded = parallel.mode == "fsdp"
    # What is never trained needs no master weights: the forward pass would round them to its precision anyway.
    dtype = getattr(torch, parallel.precision if frozen else "float32")
    policy = Policy(build_on_meta(checkpoint, dtype) if sharded else load_model(checkpoint, "float32"), float32_head)
    if lora is not None:
        add_adapters(policy.model, lora, on_meta=sharded)
    if frozen:
        policy.requires_grad_(False)
    if sharded:
        mesh = init_device_mesh(parallel.accelerator.device.type, (parallel.world_size,))
        shard(policy, parallel, mesh, frozen)
        _load_shards(policy, ShardedSafetensors.of_checkpoint(checkpoint))
    _init_adapters(policy, seed)
    return policy


def build_on_meta(checkpoint: Path, dtype: torch.dtype) -> Any:
    """The checkpoint's architecture with parameters that take no memory; buffers are real."""
    if not (checkpoint / "config.json").is_file():
        raise InputError(f"{checkpoint}: no checkpoint (config.json is missing); run `rlscale pretrain` first")
    config = AutoConfig.from_pretrained(checkpoint, local_files_only=True)
    with init_empty_weights(include_buffers=False):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.tie_weights()
    if (checkpoint / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(checkpoint, local_files_only=True)
    return model.eval()


def shard(policy: Policy, parallel: ParallelContext, mesh: DeviceMesh, frozen: bool) -> None:
    """Cuts every parameter along its first dimension and gives this process's rows storage, not yet values."""
    low = parallel.precision == "bfloat16"
    mixed = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if low else MixedPrecisionPolicy()
    body: Any = policy.model.model
    for layer in body.layers:
        fully_shard(layer, mesh=mesh, mp_policy=mixed, reshard_after_forward=True)
    if not policy.model.config.tie_word_embeddings:
        fully_shard(body.embed_tokens, mesh=mesh, mp_policy=mixed, reshard_after_forward=True)
    fully_shard(policy, mesh=mesh, mp_policy=mixed, reshard_after_forward=frozen)
    register_fsdp_forward_method(policy, "plain_logprobs")
    buffers = {name: buffer.clone() for name, buffer in policy.named_buffers()}
    policy.to_empty(device=parallel.accelerator.device)
    for name, buffer in policy.named_buffers():
        buffer.copy_(buffers[name])


@torch.no_grad()
def _load_shards(policy: Policy, files: ShardedSafetensors) -> None:
    """Reads this process's rows of each weight."""
    for name, parameter in policy.model.named_parameters():
        if not is_adapter(name):
            to_local(parameter).copy_(files.rows(base_name(name), *shard_range(parameter)))


@torch.no_grad()
def _init_adapters(policy: Policy, seed: int) -> None:
    adapters = [(name, parameter) for name, parameter in policy.model.named_parameters() if is_adapter(name)]
    for number, (name, parameter) in enumerate(adapters):
        start, stop = shard_range(parameter)
        to_local(parameter).copy_(initial_adapter(name, parameter.shape, seed, number)[start:stop])


def to_local(tensor: torch.Tensor) -> torch.Tensor:
    """The part of a tensor that this process holds, sharing its storage."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor.detach()


def shard_range(tensor: torch.Tensor) -> tuple[int, int | None]:
    """The rows of a tensor that this process holds: start, and stop (None: all)."""
    if not isinstance(tensor, DTensor):
        return 0, None
    mesh = tensor.device_mesh
    step = -(-tensor.shape[0] // mesh.size())
    start = min(step * mesh.get_local_rank(), tensor.shape[0])
    stop = min(start + step, tensor.shape[0])
    assert tensor.to_local().shape[0] == stop - start
    return start, stop


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """The whole tensor; a collective call: every process makes it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


@torch.no_grad()
def iter_full_state_dict(policy: Policy, precision: Precision) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields the policy's whole weights one after another, adapters merged, under transformers' names.

    Every process must go through all of them. No more than one tensor is gathered at a time.

    Args:
        policy: the policy, unwrapped.
        precision: of the tensors; with float32 and one process they are views of the policy's storage.
    """
    if isinstance(policy, FSDPModule):
        policy.reshard()  # a pass without gradients leaves the root's parameters gathered
    layers, dtype = adapted_layers(policy.model), getattr(torch, precision)
    for key, value in policy.model.state_dict().items():
        if is_adapter(key):
            continue
        name = base_name(key)
        if name in layers:
            layer: Any = layers[name]
            low, high = (full_tensor(part[ADAPTER].weight) for part in (layer.lora_A, layer.lora_B))
            yield name, (full_tensor(value) + layer.scaling[ADAPTER] * (high @ low)).to(dtype)
        else:
            yield name, full_tensor(value.to(dtype))  # shards are rounded before they travel


def local_state_dict(policy: Policy) -> dict[str, torch.Tensor]:
    """This process's part of every trained parameter, by name; tied ones once."""
    if isinstance(policy, FSDPModule):
        policy.reshard()
    return {name: to_local(p) for name, p in policy.model.named_parameters() if p.requires_grad}


@torch.no_grad()
def load_local_state_dict(policy: Policy, files: ShardedSafetensors) -> None:
    """Reads this process's part of every trained parameter from a training checkpoint."""
    for name, parameter in policy.model.named_parameters():
        if parameter.requires_grad:
            to_local(parameter).copy_(files.rows(name, *shard_range(parameter)))


def local_optimizer_state(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """This process's part of the optimiser's state, `<number of the parameter>.<name of the value>`."""
    return {
        f"{index}.{key}": to_local(value) if isinstance(value, torch.Tensor) else torch.tensor(value)
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
    }


def load_local_optimizer_state(optimizer: torch.optim.Optimizer, files: ShardedSafetensors) -> None:
    """Reads this process's part of the optimiser's state from a training checkpoint."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name in files.names():
        index, key = name.split(".", 1)
        parameter = parameters[int(index)]
        rows = files.rows(name, *shard_range(parameter))
        if isinstance(parameter, DTensor) and rows.dim():
            rows = DTensor.from_local(
                rows.to(parameter.device),
                parameter.device_mesh,
                parameter.placements,
                run_check=False,
                shape=parameter.shape,
                stride=parameter.stride(),
            )
        state.setdefault(int(index), {})[key] = rows
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
