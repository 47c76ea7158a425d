"""What a training run needs of each device's memory, from the model's shape alone: counted before anything starts.

    resident = parameters + gradients + optimiser + reference + sampler
    needed   = resident + max(update, rollout)
    update   = gathered layers + activations of a micro-batch + one chunk of logits
    rollout  = key-value cache and logits of the sequences decoded together

The first line is exact but for a few buffers; activations are what autograd keeps for a Qwen2 layer over packed rows
(a test compares the estimate with what it really keeps). Bytes of the device's own context, of the communication
library and of fragmentation are covered by the fraction of the device that a run may fill.

Not covered: compiled or fused kernels that keep less.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tasks.costs.flops import Architecture
from tasks.study.errors import InputError
from tasks.study.params import Params

USABLE_FRACTION = 0.92
"""Fraction of a device's memory that an estimate may fill."""
VLLM_FRACTION = 0.45
"""Fraction that a vLLM engine beside a trainer takes where `hardware.vllm.memory_share` is null."""
VLLM_SEQUENCES = 16
"""Sequences of full length that a vLLM engine must be able to hold besides the weights."""
LOGIT_ELEMENTS = 1 << 25
"""Logits in memory at once, as `tasks.policy.logprobs` cuts them."""
PREFIX_ROWS = 1.5
"""Keys and values attended per packed row, prompts repeated for each completion, relative to the rows."""

GIB = float(1 << 30)


@dataclass(frozen=True)
class ModelShape:
    """A checkpoint's shape.

    Attributes:
        architecture: widths and depths.
        tied: whether output and input embedding are one matrix.
    """

    architecture: Architecture
    tied: bool

    @property
    def embeddings(self) -> int:
        """Parameters of the embeddings."""
        return self.architecture.vocab_size * self.architecture.hidden_size * (1 if self.tied else 2)

    @property
    def total(self) -> int:
        """All parameters, tied ones once."""
        return self.architecture.n_params + self.embeddings

    @property
    def layer(self) -> int:
        """Parameters of a layer."""
        return self.architecture.n_params // self.architecture.num_hidden_layers

    def adapters(self, rank: int, targets: tuple[str, ...]) -> int:
        """Parameters of low-rank adapters."""
        a = self.architecture
        wide, narrow = a.num_attention_heads * a.head_dim, a.num_key_value_heads * a.head_dim
        sides = {
            "q_proj": a.hidden_size + wide,
            "k_proj": a.hidden_size + narrow,
            "v_proj": a.hidden_size + narrow,
            "o_proj": wide + a.hidden_size,
            "gate_proj": a.hidden_size + a.intermediate_size,
            "up_proj": a.hidden_size + a.intermediate_size,
            "down_proj": a.hidden_size + a.intermediate_size,
        }
        return a.num_hidden_layers * rank * sum(sides.get(target, 0) for target in targets)


def read_shape(checkpoint: Path) -> ModelShape:
    """Reads a checkpoint's shape from its config; loads nothing.

    Raises:
        InputError: there is no config, or not of a decoder like Qwen2.
    """
    try:
        config = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
        architecture = Architecture.from_config(config)
    except FileNotFoundError:
        raise InputError(
            f"{checkpoint}: no checkpoint (config.json is missing); run `rlscale pretrain` first"
        ) from None
    except KeyError as error:
        raise InputError(f"{checkpoint}/config.json: key {error} is missing; expected a Qwen2-like decoder") from None
    return ModelShape(architecture, bool(config.get("tie_word_embeddings", False)))


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

    def describe(self) -> str:
        """The parts in GiB, as one line."""
        parts = self.resident | self.update | self.rollout
        return ", ".join(f"{name} {size / GIB:.3g}" for name, size in parts.items() if size)


def estimate(params: Params, shape: ModelShape, num_processes: int, sharded: bool, capacity: float) -> MemoryEstimate:
    """Estimates a run's memory per device.

    Args:
        params: the study.
        shape: of the run's model.
        num_processes: devices of the run.
        sharded: whether parameters, gradients and optimiser are sharded over them (FSDP2).
        capacity: bytes of a device; what vLLM reserves is a fraction of it.
    """
    train, width = params.train, 2 if params.train.precision == "bfloat16" else 4
    num_shards = num_processes if sharded else 1
    trained = shape.adapters(train.lora.rank, train.lora.targets) if train.lora else shape.total
    frozen = shape.total if train.lora else 0
    longest = train.sampling.max_prompt_tokens + train.sampling.max_completion_tokens
    rows = max(params.hardware.token_budget, longest)  # a prompt with one completion is never cut
    second = train.objective.kl_coefficient > 0 and train.lora is None
    resident = {
        "parameters": 4.0 * (trained + frozen) / num_shards,
        "gradients": 4.0 * trained / num_shards * (2 if num_processes > 1 and not sharded else 1),  # DDP's buckets
        "optimiser": 8.0 * trained / num_shards,
        "reference": (float(width if sharded else 4) * shape.total / num_shards) if second else 0.0,
    }
    update = {
        "gathered layers": _gathered(shape, width) if sharded and (num_processes > 1 or width == 2) else 0.0,
        "activations": activation_bytes(shape, rows, width, params.hardware.gradient_checkpointing),
        "logits": _logits(shape, width),
    }
    if train.engine == "vllm":
        return MemoryEstimate(
            resident, update, {"vLLM": (params.hardware.vllm.memory_share or VLLM_FRACTION) * capacity}
        )
    sequences = min(params.hardware.generation_batch, -(-train.batch * train.group_size // num_processes))
    rollout = {
        "key-value cache": cache_bytes(shape, sequences * longest, width),
        "sampling": 24.0 * sequences * shape.architecture.vocab_size,
    }
    return MemoryEstimate(resident | {"sampler": float(width) * shape.total}, update, rollout)


def _gathered(shape: ModelShape, width: int) -> float:
    """One embedding and two layers whole, with the gradients of the embedding and a layer before they are reduced."""
    embedding = shape.architecture.vocab_size * shape.architecture.hidden_size
    return width * (embedding + 2.0 * shape.layer) + (width + 4.0) * (embedding + shape.layer)


def activation_bytes(shape: ModelShape, rows: int, width: int, recomputed: bool) -> float:
    """Bytes that autograd keeps for `rows` packed rows at `width` bytes an element.

    Per row and layer: two norms keep their input in float32, its normalised value and the product with the weight;
    attention keeps query, keys, values and output; the feed-forward layer gate, its activation, up and their product.
    Recomputed, a layer keeps its input and one layer is whole at a time.
    """
    a = shape.architecture
    norms = 2.0 * (4 + 2 * width) * a.hidden_size
    attention = width * (2.0 * a.num_attention_heads + 2.0 * PREFIX_ROWS * a.num_key_value_heads) * a.head_dim
    layer = rows * (norms + attention + 4.0 * width * a.intermediate_size)
    return layer + rows * a.num_hidden_layers * width * a.hidden_size if recomputed else layer * a.num_hidden_layers


def _logits(shape: ModelShape, width: int) -> float:
    """A chunk of logits, its softmax and gradient, and the output embedding's gradient in float32."""
    return (8.0 + width) * LOGIT_ELEMENTS + 4.0 * shape.architecture.vocab_size * shape.architecture.hidden_size


def cache_bytes(shape: ModelShape, tokens: int, width: int) -> float:
    """Bytes of the keys and values of so many tokens."""
    a = shape.architecture
    return 2.0 * a.num_hidden_layers * a.num_key_value_heads * a.head_dim * width * tokens


def devices_per_engine(params: Params, shape: ModelShape, num_local: int, capacity: float) -> int:
    """How many of a machine's `num_local` devices hold one vLLM engine's weights together: as few as fit.

    Raises:
        InputError: all of them are too few.
    """
    if params.hardware.vllm.tensor_parallel is not None:
        return params.hardware.vllm.tensor_parallel
    width = 2 if params.train.precision == "bfloat16" else 4
    reserved = (params.hardware.vllm.memory_share or VLLM_FRACTION) * capacity
    longest = params.train.sampling.max_prompt_tokens + params.train.sampling.max_completion_tokens
    for size in (size for size in (1, 2, 4, 8) if num_local % size == 0):
        if (
            width * shape.total + cache_bytes(shape, VLLM_SEQUENCES * longest, width)
        ) / size <= USABLE_FRACTION * reserved:
            return size
    raise InputError(
        f"vLLM's part of {reserved / GIB:.3g} GiB on each of {num_local} devices does not hold the model's "
        f"{width * shape.total / GIB:.3g} GiB; raise hardware.vllm.memory_share or use hardware.vllm.mode server"
    )


def require_fit(name: str, needed: MemoryEstimate, capacity: float, num_processes: int, size: str) -> None:
    """Refuses a run that cannot fit.

    Raises:
        InputError: with the numbers and what could be changed.
    """
    if needed.needed <= USABLE_FRACTION * capacity:
        return
    raise InputError(
        f"run {name} needs {needed.needed / GIB:.3g} GiB on each of its {num_processes} devices ({needed.describe()}), "
        f"which have {capacity / GIB:.3g} GiB, {USABLE_FRACTION:.0%} of it usable; raise hardware.gpus_per_run.{size}, "
        "lower hardware.token_budget or hardware.generation_batch, or set hardware.gradient_checkpointing"
    )
