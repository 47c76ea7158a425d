"""Seconds of a GRPO step by phase: a roofline of arithmetic, memory bandwidth and links, and what a phase costs anyway.

For N parameters on g GPUs, T tokens a step, A attended (query, key) pairs, l layers, W the width of all their queries:

    forward   = (2 N T + 4 A W) / (g peak mfu)
    training  = 3 forward + gathers + fixed               gathers: weights collected for each minibatch, thrice
    old, reference = forward + gathers + fixed
    rollout   = S (l t + 2 N / (tp bandwidth)) + cache / (g bandwidth) + 2 N T / (g peak mfu_rollout) + gathers + fixed

S, decoding steps of an engine of tp GPUs: the longest completion's, and as many more as sequences wait for cache; t, a
layer's launch time; cache, bytes of keys and values read. Weights collected for the sampler count as one gather.
The constants were set by hand on some of the runs of `benchmarks/public_step_times.csv`; `benchmarks/step_times.py`
prints what they predict of the others, 8 of which were found afterwards, and with `--refit` what constants predict that
least squares found without the run.
Not covered: recomputed layers, offload, padding, waiting for a scorer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from tasks.costs.flops import Architecture
from tasks.costs.gpu_table import Gpu
from tasks.costs.model_shape import published_configs
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from tasks.costs.step_cost import Workload

MINIBATCHES = 4
LENGTH_TAIL = 3.0
"""Longest completion over the mean where nothing is known."""
CACHE_SHARE = 0.5
"""Part of a GPU that weights and cache of the sampler may fill."""
ENGINE_SHARE = 0.35
"""Part of a GPU that the sampler's weights may fill before it is spread over twice as many."""
NODE_GPUS = 8
NODE_LINK, NETWORK_LINK = 300e9, 40e9
"""Bytes per second that a GPU collects weights with, within a node (NVLink) and between nodes."""
EAGER_LAYER_SECONDS = 2.2e-3
"""Launch time of a layer in a decoding step without CUDA graphs, as the public runs with LoRA had it."""
FIXED_SECONDS = MappingProxyType({"training": 5.0, "old": 1.4, "reference": 0.4, "rollout": 12.0, "evaluation": 2.0})
"""What a phase takes besides: launches, optimizer, engine wake-up, weight sync."""


@dataclass(frozen=True)
class Efficiency:
    """What of the hardware's rates is reached.

    Attributes:
        mfu: share of peak where tokens are processed in bulk.
        mfu_rollout: share of peak where they are generated.
        bandwidth: share of memory bandwidth in decoding.
        layer_seconds: launch time of a layer in a decoding step.
        fixed: seconds that a phase takes whatever its work.
        factors: measured over predicted seconds by phase, from a user's own runs.
        spread: standard deviation of log(measured / predicted) of a step; 0.28 on the 13 runs kept apart.
    """

    mfu: float = 0.37
    mfu_rollout: float = 0.4
    bandwidth: float = 0.6
    layer_seconds: float = 2e-4
    fixed: Mapping[str, float] = field(default_factory=lambda: FIXED_SECONDS)
    factors: Mapping[str, float] = field(default_factory=dict)
    spread: float = 0.28

    def __post_init__(self) -> None:
        for name, value in (("--mfu", self.mfu), ("--mfu-rollout", self.mfu_rollout)):
            if not 0 < value <= 1:
                raise InputError(f"{name}: expected a fraction in (0, 1], found {value:g}")

    @property
    def eager(self) -> Efficiency:
        """The same for a sampler without CUDA graphs."""
        return replace(self, layer_seconds=EAGER_LAYER_SECONDS)

    @property
    def range80(self) -> float:
        """Factor by which a step's seconds are off at most, four times in five."""
        return float(np.exp(1.2816 * self.spread))

    def assumptions(self) -> list[str]:
        """What hours assume and how far they may be off, in sentences."""
        own = ", ".join(f"{phase} x {factor:.3g}" for phase, factor in self.factors.items())
        return [
            f"hours assume {self.mfu:.0%} of peak in updates and log-probs, in generation {self.mfu_rollout:.0%} of "
            f"peak and {self.bandwidth:.0%} of memory bandwidth" + (f", and as your runs took: {own}" if own else ""),
            f"hours may be {1 / self.range80:.2f} to {self.range80:.2f} times these (80 % range)",
        ]


@dataclass(frozen=True)
class _Layers:
    """What N does not say of a model, from the published shape nearest to it.

    Attributes:
        count: layers.
        width: of all layers' queries together.
        cache: bytes of keys and values of a token, bf16.
    """

    count: float
    width: float
    cache: float


def step_seconds(n: float, work: Workload, gpu: Gpu, efficiency: Efficiency, gpus: int) -> dict[str, float]:
    """Wall seconds of one step by phase, evaluation spread evenly over the steps.

    Args:
        n: parameters.
        work: the step.
        gpu: the GPU.
        efficiency: shares of its rates.
        gpus: GPUs of the run.
    """
    layers, sequences = _layers(n), work.prompts * work.completions
    attended = sequences * work.tokens**2 / 2.0
    forward = (2.0 * n * work.step_tokens + 4.0 * attended * layers.width) / (gpus * gpu.peak_flops * efficiency.mfu)
    gather = 0.0 if gpus == 1 else 2.0 * n / (NODE_LINK if gpus <= NODE_GPUS else NETWORK_LINK)
    scored = work.eval_problems * work.eval_samples
    seconds = {
        "training": 3.0 * (forward + MINIBATCHES * gather),
        "rollout": _generation(n, sequences, work, gpu, efficiency, gpus) + gather,
        "old": forward + gather if work.old else 0.0,
        "reference": forward + gather if work.reference else 0.0,
        "evaluation": _generation(n, scored, work, gpu, efficiency, gpus) / work.eval_every,
    }
    return {
        phase: (value + efficiency.fixed[phase] / (work.eval_every if phase == "evaluation" else 1))
        * efficiency.factors.get(phase, 1.0)
        if value
        else 0.0
        for phase, value in seconds.items()
    }


def _generation(n: float, sequences: int, work: Workload, gpu: Gpu, efficiency: Efficiency, gpus: int) -> float:
    """Seconds to sample completions, all engines at once."""
    if not sequences:
        return 0.0
    layers, weights, bandwidth = _layers(n), 2.0 * n, gpu.bandwidth * efficiency.bandwidth
    tensor_parallel = 1
    while weights / tensor_parallel > ENGINE_SHARE * gpu.memory_gb * 1e9 and tensor_parallel < gpus:
        tensor_parallel *= 2
    per_engine = sequences * tensor_parallel / gpus
    room = CACHE_SHARE * gpu.memory_gb * 1e9 * tensor_parallel - weights
    together = max(1.0, min(per_engine, room / (layers.cache * work.tokens)))
    steps = work.longest_tokens + (per_engine - together) / together * work.tokens
    decoding = steps * (layers.count * efficiency.layer_seconds + weights / (tensor_parallel * bandwidth))
    tokens = sequences * work.tokens
    reading = tokens * layers.cache * work.tokens / 2.0 / (gpus * bandwidth)
    return decoding + reading + 2.0 * n * tokens / (gpus * gpu.peak_flops * efficiency.mfu_rollout)


def _layers(n: float) -> _Layers:
    """Layers of a model of n parameters, scaled from the nearest published one: count by n^(1/3), widths by n^(2/3)."""
    shapes = [
        (float(config["parameters"]), Architecture.from_config(config)) for config in published_configs().values()
    ]
    known, shape = min(shapes, key=lambda pair: abs(np.log(pair[0] / n)))
    scale = (n / known) ** (1.0 / 3.0)
    count = shape.num_hidden_layers
    return _Layers(
        count * scale,
        count * shape.num_attention_heads * shape.head_dim * scale**2,
        4.0 * count * shape.num_key_value_heads * shape.head_dim * scale**2,
    )
