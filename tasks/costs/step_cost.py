"""The full cost of GRPO steps, by phase, in FLOPs, GPU-hours and money.

With N parameters and T = B G (p + c) tokens in a step (B prompts, G completions of c tokens each, prompts of p tokens
counted once per completion, as published), a forward pass costs 2 N and a backward pass 4 N FLOPs a token:

    training   6 N T            the published C counts this alone
    rollout    2 N T            prompts read and completions written, once per completion
    old        2 N T            log-probs of the sampling policy, recomputed before the updates
    reference  2 N T            log-probs of the initial policy for the KL term; 0 without one
    evaluation 2 N M s (p + c)  M held-out problems, s samples each, after every `every`-th step

Time is that of `tasks.costs.step_time`. Not covered: attention FLOPs in the counts, idle time, start-up, failures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tasks.costs.gpu_table import Gpu, gpus_needed
from tasks.costs.step_time import LENGTH_TAIL, Efficiency, step_seconds
from tasks.study.errors import InputError


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
        longest: tokens of the longest completion of a step; None: `LENGTH_TAIL` times the mean.
    """

    prompts: int = 512
    completions: int = 8
    tokens: float = 1000.0
    eval_problems: int = 500
    eval_samples: int = 1
    eval_every: int = 1
    reference: bool = True
    old: bool = True
    longest: float | None = None

    @property
    def longest_tokens(self) -> float:
        """Tokens of the longest completion."""
        return LENGTH_TAIL * self.tokens if self.longest is None else self.longest

    @property
    def step_tokens(self) -> float:
        """T."""
        return self.prompts * self.completions * self.tokens


@dataclass(frozen=True)
class Cost:
    """Cost of some steps of one size.

    Attributes:
        flops: by phase.
        seconds: wall seconds by phase.
        total_flops: their sum.
        gpu_hours: time on GPUs.
        usd: price.
        gpus: GPUs of the run.
        hours: wall hours on that many GPUs.
    """

    flops: dict[str, float]
    seconds: dict[str, float]
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
    count = gpus or gpus_needed(n, gpu)
    flops = {phase: steps * value for phase, value in step_flops(n, work).items()}
    seconds = {phase: steps * value for phase, value in step_seconds(n, work, gpu, efficiency, count).items()}
    hours = sum(seconds.values()) / 3600.0
    gpu_hours = hours * count
    return Cost(flops, seconds, sum(flops.values()), gpu_hours, gpu_hours * gpu.usd_per_hour, count, hours)


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
