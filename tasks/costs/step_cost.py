"""The full cost of GRPO steps, by phase, in FLOPs, GPU-hours and money.

With N parameters and T = B G (p + c) tokens in a step (B prompts, G completions of c tokens each, prompts of p tokens
counted once per completion, as published), a forward pass costs 2 N and a backward pass 4 N FLOPs a token:

    training   6 N T            the published C counts this alone
    rollout    2 N T            prompts read and completions written, once per completion
    old        2 N T            log-probs of the sampling policy, recomputed before the updates
    reference  2 N T            log-probs of the initial policy for the KL term; 0 without one
    evaluation 2 N M s (p + c)  M held-out problems, s samples each, after every `every`-th step

Time is FLOPs over (GPUs x peak x utilisation). Training, old and reference run at `mfu`; generation is bound by memory
and runs at `mfu_rollout`. Not covered: attention FLOPs (below 10 % at these lengths), idle time, start-up, failures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.costs.gpu_table import Gpu, gpus_needed
from tasks.study.errors import InputError

GENERATED = ("rollout", "evaluation")


@dataclass(frozen=True)
class Workload:
    """What a step consists of, but for N.

    Attributes:
        prompts: B.
        completions: G, completions per prompt.
        tokens: p + c, mean tokens of a prompt with one completion.
        eval_problems: M.
        eval_samples: s.
        eval_every: steps between evaluations.
        reference: whether a reference pass is needed (KL coefficient above 0).
        old: whether log-probs of the sampling policy are recomputed.
    """

    prompts: int = 512
    completions: int = 8
    tokens: float = 1000.0
    eval_problems: int = 500
    eval_samples: int = 1
    eval_every: int = 1
    reference: bool = True
    old: bool = True

    @property
    def step_tokens(self) -> float:
        """T."""
        return self.prompts * self.completions * self.tokens


@dataclass(frozen=True)
class Efficiency:
    """Fractions of peak: `mfu` where tokens are processed in bulk, `mfu_rollout` where they are generated."""

    mfu: float = 0.35
    mfu_rollout: float = 0.12

    def __post_init__(self) -> None:
        for name, value in (("--mfu", self.mfu), ("--mfu-rollout", self.mfu_rollout)):
            if not 0 < value <= 1:
                raise InputError(f"{name}: expected a fraction in (0, 1], found {value:g}")


@dataclass(frozen=True)
class Cost:
    """Cost of some steps of one size.

    Attributes:
        flops: by phase.
        total_flops: their sum.
        gpu_hours: time on GPUs.
        usd: price.
        gpus: GPUs of the run.
        hours: wall hours on that many GPUs.
    """

    flops: dict[str, float]
    total_flops: float
    gpu_hours: float
    usd: float
    gpus: int
    hours: float


def step_flops(n: float, work: Workload) -> dict[str, float]:
    """FLOPs of one step by phase, evaluation spread evenly over the steps."""
    bulk = 2.0 * n * work.step_tokens
    evaluation = 2.0 * n * work.eval_problems * work.eval_samples * work.tokens / work.eval_every
    return {
        "training": 3.0 * bulk,
        "rollout": bulk,
        "old": bulk if work.old else 0.0,
        "reference": bulk if work.reference else 0.0,
        "evaluation": evaluation,
    }


def cost_of(n: float, steps: float, work: Workload, gpu: Gpu, efficiency: Efficiency, gpus: int | None = None) -> Cost:
    """Full cost of `steps` steps at size n, on so many GPUs; None: as many as its memory needs."""
    flops = {phase: steps * value for phase, value in step_flops(n, work).items()}
    seconds = sum(
        value / (gpu.peak_flops * (efficiency.mfu_rollout if phase in GENERATED else efficiency.mfu))
        for phase, value in flops.items()
    )
    hours, count = seconds / 3600.0, gpus or gpus_needed(n, gpu)
    return Cost(flops, sum(flops.values()), hours, hours * gpu.usd_per_hour, count, hours / count)


@dataclass(frozen=True)
class Budget:
    """An amount of one kind: gpu-h, flop (all phases) or usd."""

    amount: float
    unit: str

    def price(self, cost: Cost) -> float:
        """A cost in its unit."""
        return {"gpu-h": cost.gpu_hours, "flop": cost.total_flops, "usd": cost.usd}[self.unit]

    def steps(self, one: Cost) -> int:
        """Whole steps it pays for, from the cost of one."""
        # Tolerance 1e-12: a budget of exactly n steps buys n.
        return int(self.amount / self.price(one) * (1 + 1e-12))

    def scaled(self, factor: float) -> Budget:
        """A multiple of it."""
        return Budget(self.amount * factor, self.unit)

    def __str__(self) -> str:
        return f"{self.amount:.4g} {self.unit}"


_NUMBER = r"((?:[0-9][0-9,_]*\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)"
_BUDGET = re.compile(rf"\s*(\$)?\s*{_NUMBER}\s*([a-z$ -]*?)\s*", re.IGNORECASE)
_BUDGET_UNITS = {
    "gpu-h": ("gpu-h", "gpuh", "gpu h", "gpu-hours", "gpu-hour", "gpu hours", "gpuhours"),
    "flop": ("flop", "flops"),
    "usd": ("usd", "$", "dollars"),
}


def parse_budget(text: str) -> Budget:
    """Reads `2000gpu-h`, `1e22flop` or `30000usd`, and the usual spellings of each: `100 gpuh`, `1e22 FLOPs`, `$5,000`.

    Raises:
        InputError: anything else.
    """
    found = _BUDGET.fullmatch(text)
    if found:
        dollar, number, word = found.groups()
        named = [unit for unit, words in _BUDGET_UNITS.items() if (word or dollar or "").lower() in words]
        amount = float(number.replace(",", "").replace("_", ""))
        if named and 0 < amount < float("inf") and (not dollar or named == ["usd"]):
            return Budget(amount, named[0])
    raise InputError(f"--budget {text!r}: expected a positive number with unit, e.g. 2000gpu-h, 1e22flop or 30000usd")
