"""What a training run needs of each device's memory, from the model's shape alone: counted before anything starts.

    resident = parameters + optimiser + reference + what the sampler keeps
    needed   = resident + max(update, rollout)
    update   = gradients + the fullest of three moments of a backward pass: output layer, a layer, embeddings
    rollout  = key-value cache and logits of the sequences decoded together, or vLLM's part

Gradients are freed before the rollouts (`tasks.train.loop`). The first line is exact but for a few buffers; the moments
follow `tasks.policy.logprobs` and FSDP2, activations are what autograd keeps for a Qwen2 layer over packed rows. Tests
compare with what is really kept, and with whole updates on fake tensors (`tasks.train.fit_check`). Bytes of the
trainer's own context, of the communication library and of fragmentation are covered by the fraction of the device that
a run may fill.

Not covered: compiled or fused kernels that keep less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from tasks.costs.model_shape import ModelShape
from tasks.study.errors import InputError
from tasks.study.params import Params, SizedHardware

USABLE_FRACTION = 0.92
"""Fraction of a device's memory that an estimate may fill."""
VLLM_FRACTION = 0.45
"""Fraction that a vLLM engine beside a trainer takes where nothing has chosen one."""
SLEEPING_ENGINE = 3 << 30
"""Bytes that a sleeping vLLM engine keeps on its device: context, communication buffers, CUDA graphs."""
SLEEPING_DOUBLING = 4 << 30
"""Bytes more for an engine over eight devices: 7 GiB there (vllm issue 47654), in equal parts for every doubling."""
LOGIT_ELEMENTS = 1 << 25
"""Logits in memory at once, as `tasks.policy.logprobs` cuts them."""
PREFIX_ROWS = 1.5
"""Keys and values attended per packed row, prompts repeated for each completion, relative to the rows."""
MARGIN = 1.05
"""What is not counted in a backward pass, norms' buffers, indices and temporaries, as a factor."""

GIB = float(1 << 30)


@dataclass(frozen=True)
class Devices:
    """The devices of a run.

    Attributes:
        count: one per process.
        per_node: of a machine.
        sharded: whether parameters, gradients and optimiser are sharded over them (FSDP2).
        capacity: bytes of a device; what vLLM reserves is a fraction of it.
        gpu: whether they are GPUs.
    """

    count: int
    per_node: int
    sharded: bool
    capacity: float
    gpu: bool = True

    @property
    def usable(self) -> float:
        """Bytes of a device that an estimate may fill."""
        return USABLE_FRACTION * self.capacity


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes per device, by what they hold.

    Attributes:
        resident: allocated from beginning to end.
        update: allocated besides while the policy is updated.
        rollout: allocated besides while completions are sampled.
    """

    resident: dict[str, float]
    update: dict[str, float]
    rollout: dict[str, float]

    @property
    def needed(self) -> float:
        """Bytes at the fullest moment."""
        return sum(self.resident.values()) + max(sum(self.update.values()), sum(self.rollout.values()))

    @property
    def trainer(self) -> float:
        """Bytes that the training process allocates at the fullest moment of an update."""
        engine = self.resident.get("sampler", 0.0) + self.resident.get("sleeping engine", 0.0)
        return sum(self.resident.values()) + sum(self.update.values()) - engine

    def describe(self) -> str:
        """The parts in GiB, as one line."""
        parts = self.resident | self.update | self.rollout
        return ", ".join(f"{name} {size / GIB:.3g}" for name, size in parts.items() if size)


def estimate(params: Params, hardware: SizedHardware, shape: ModelShape, devices: Devices) -> MemoryEstimate:
    """Estimates a run's memory per device.

    Args:
        params: the study.
        hardware: the run's own.
        shape: of the run's model.
        devices: the run's devices.
    """
    train, width = params.train, precision_bytes(params)
    shards = devices.count if devices.sharded else 1
    trained = shape.adapters(train.lora.rank, train.lora.targets) if train.lora else shape.total
    frozen = shape.total if train.lora else 0
    second = train.objective.kl_coefficient > 0 and train.lora is None
    rows = max(hardware.token_budget, longest_sequence(params))  # a prompt with one completion is never cut
    whole = devices.count > 1 and not devices.sharded
    resident = {
        "parameters": 4.0 * (trained + frozen) / shards,
        "optimiser": 8.0 * trained / shards,
        "reference": (float(width if devices.sharded else 4) * shape.total / shards) if second else 0.0,
        "gradient buckets": 4.0 * trained if whole else 0.0,  # DDP's
    }
    gathered = width if devices.sharded and (devices.count > 1 or width == 2) else 0
    update = {"gradients": 4.0 * trained / shards} | _backward(
        shape, rows, width, gathered, hardware.gradient_checkpointing
    )
    if train.engine == "vllm":
        own = resident | {"sleeping engine": sleeping_engine(hardware, devices)}
        return MemoryEstimate(own, update, {"vLLM": vllm_bytes(hardware, devices)})
    sequences = min(hardware.generation_batch, -(-train.batch * train.group_size // devices.count))
    rollout = {
        "key-value cache": cache_bytes(shape, sequences * longest_sequence(params), width),
        "sampling": 24.0 * sequences * shape.architecture.vocab_size,
    }
    return MemoryEstimate(resident | {"sampler": float(width) * shape.total}, update, rollout)


def precision_bytes(params: Params) -> int:
    """Bytes of a number in the forward and backward pass."""
    return 2 if params.train.precision == "bfloat16" else 4


def longest_sequence(params: Params) -> int:
    """Tokens of the longest prompt with the longest completion."""
    return params.train.sampling.max_prompt_tokens + params.train.sampling.max_completion_tokens


def _backward(shape: ModelShape, rows: int, width: int, gathered: int, recomputed: bool) -> dict[str, float]:
    """The fullest moment of a backward pass over `rows` packed rows, gradient shards left out.

    The root's parameters, output layer included, are whole from the forward pass to the end; so is the gradient of the
    output layer once it exists. A layer's backward holds it and the one before, its gradient, that gradient in float32
    on its way to the shards, and the gradients of two activations of the feed-forward layer.

    Args:
        shape: of the model.
        rows: packed rows.
        width: bytes of an element.
        gathered: bytes of an element of a gathered parameter; 0: nothing is gathered.
        recomputed: whether layers are.
    """
    embedding, layer = float(shape.embedding), float(shape.layer)
    kept = activation_bytes(shape, rows, width, recomputed) - (one_layer(shape, rows, width) if recomputed else 0.0)
    outputs = 4.0 * rows * width * shape.architecture.hidden_size
    moments: list[dict[str, float]] = [
        {
            "gathered": gathered * embedding,
            "activations": kept + outputs,
            "output layer": (4.0 + width) * embedding + width * LOGIT_ELEMENTS,
        },
        {
            "gathered": gathered * (embedding + 2 * layer),
            "activations": kept + (one_layer(shape, rows, width) if recomputed else 0.0),
            "gradients in flight": gathered * (embedding + layer)
            + (4.0 * layer if gathered else 0.0)
            + 2.0 * rows * width * shape.architecture.intermediate_size,
        },
        {
            "gathered": gathered * embedding * (1 if shape.tied else 2),
            "activations": outputs,
            "gradients in flight": (2 * width + 4.0) * embedding,
        },
    ]
    fullest = max(moments, key=lambda moment: sum(moment.values()))
    return {name: MARGIN * size for name, size in fullest.items()}


def one_layer(shape: ModelShape, rows: int, width: int) -> float:
    """Bytes that autograd keeps of one layer for `rows` packed rows at `width` bytes an element.

    Per row: two norms keep their input in float32, its normalised value and the product with the weight; attention
    keeps query, keys, values and output; the feed-forward layer gate, its activation, up and their product.
    """
    a = shape.architecture
    norms = 2.0 * (4 + 2 * width) * a.hidden_size
    attention = width * (2.0 * a.num_attention_heads + 2.0 * PREFIX_ROWS * a.num_key_value_heads) * a.head_dim
    return rows * (norms + attention + 4.0 * width * a.intermediate_size)


def activation_bytes(shape: ModelShape, rows: int, width: int, recomputed: bool) -> float:
    """Bytes that autograd keeps; recomputed, a layer keeps its input and one layer is whole at a time."""
    layers = shape.architecture.num_hidden_layers
    layer = one_layer(shape, rows, width)
    return layer + rows * layers * width * shape.architecture.hidden_size if recomputed else layer * layers


def cache_bytes(shape: ModelShape, tokens: int, width: int) -> float:
    """Bytes of the keys and values of so many tokens."""
    a = shape.architecture
    return 2.0 * a.num_hidden_layers * a.num_key_value_heads * a.head_dim * width * tokens


def vllm_bytes(hardware: SizedHardware, devices: Devices) -> float:
    """Bytes that an engine beside the trainer reserves on its device while it is awake."""
    if hardware.vllm.mode == "server":
        return 0.0
    share = VLLM_FRACTION if hardware.vllm.memory_share is None else hardware.vllm.memory_share
    return share * devices.capacity


def sleeping_engine(hardware: SizedHardware, devices: Devices) -> float:
    """Bytes that it keeps while it sleeps, and beside its part while it is awake; nothing on a CPU."""
    if hardware.vllm.mode == "server" or not devices.gpu:
        return 0.0
    return SLEEPING_ENGINE + SLEEPING_DOUBLING * math.log2(hardware.vllm.tensor_parallel or 1) / 3


def require_fit(name: str, needed: MemoryEstimate, devices: Devices, size: str) -> None:
    """Refuses a run that cannot fit.

    Raises:
        InputError: with the numbers and what could be changed.
    """
    if needed.needed <= devices.usable:
        return
    raise InputError(
        f"run {name} needs {needed.needed / GIB:.3g} GiB on each of its {devices.count} devices ({needed.describe()}), "
        f"which have {devices.capacity / GIB:.3g} GiB, {USABLE_FRACTION:.0%} of it usable; raise "
        f"hardware.gpus_per_run.{size}, lower hardware.token_budget, hardware.generation_batch or "
        "hardware.vllm.memory_share, or set hardware.gradient_checkpointing"
    )
