"""One training step of a plan: read from the points or assumed, what it adds to X, how often it reuses problems."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.costs.step_cost import Workload
from tasks.fit.data.measurements import Floats, Measurements
from tasks.records.published import UNITS
from tasks.study.errors import InputError

# As published: 512 prompts a step; 1,000 tokens are about what its runs took per completion with its prompt.
DEFAULT_PROMPTS, DEFAULT_TOKENS = 512, 1000.0


@dataclass(frozen=True)
class ReuseNeed:
    """How often each unique problem is seen by the best choice, and how many unique problems would do.

    Attributes:
        problems: unique problems at hand.
        tau: times each is seen.
        limit: largest tau taken as harmless.
        source: where the limit comes from.
        enough: whether tau <= limit.
        steps_at_limit: steps that the problems feed at the limit.
    """

    problems: int
    tau: float
    limit: float
    source: str
    enough: bool
    steps_at_limit: int


def workload_of(
    points: Measurements, prompts: int | None, completions: int, tokens: float | None, eval_problems: int
) -> tuple[Workload, list[str]]:
    """The step of a plan, and sentences about what was read from the points or assumed.

    Args:
        points: what the law was fitted to.
        prompts: per step; None: from a data column, else as published.
        completions: per prompt.
        tokens: mean per completion with its prompt; None: from a compute column, else assumed.
        eval_problems: held-out problems.

    Raises:
        InputError: tokens is not positive.
    """
    if tokens is not None and tokens <= 0:
        raise InputError(f"--tokens: expected a positive number, found {tokens:g}")
    notes = []
    if prompts is None:
        prompts = DEFAULT_PROMPTS
        if UNITS.get(points.unit) == "data":
            prompts = round(float(np.median(points.resource / points.step)))
            notes.append(f"{prompts} prompts per step, from the points")
        else:
            notes.append(f"{prompts} prompts per step assumed, as published (--prompts)")
    if tokens is None:
        step = tokens_per_step(points)
        tokens = DEFAULT_TOKENS if step is None else step / (prompts * completions)
        source = "assumed (--tokens)" if step is None else f"so that a step has the {step:.3g} tokens of the points"
        notes.append(f"{tokens:.0f} tokens per completion with its prompt, {source}")
    return Workload(prompts, completions, tokens, eval_problems), notes


def tokens_per_step(points: Measurements) -> float | None:
    """T from the points themselves: compute over 6 N and step, median over their second half; None without compute."""
    if UNITS.get(points.unit) != "compute":
        return None
    late = points.step > np.median(points.step)
    return float(np.median((points.resource / (6.0 * points.n * points.step))[late]))


def per_step(points: Measurements, n: Floats, work: Workload) -> Floats:
    """Resource X that one step adds at sizes n [Q]: 6 N T, or B prompts.

    Raises:
        InputError: the resource is neither compute nor data.
    """
    kind = UNITS.get(points.unit)
    if kind is None:
        names = ", ".join(UNITS)
        raise InputError(f"plan: resource column {points.unit!r} is neither compute nor data, expected one of {names}")
    return 6.0 * n * work.step_tokens if kind == "compute" else np.full(len(n), float(work.prompts))


def reuse_need(steps: int, problems: int, work: Workload, limit: float, source: str) -> ReuseNeed:
    """How far `problems` unique problems stretch over a run of `steps`.

    Raises:
        InputError: fewer than one problem.
    """
    if problems < 1:
        raise InputError(f"--problems: expected at least 1, found {problems}")
    tau = steps * work.prompts / problems
    return ReuseNeed(problems, tau, limit, source, tau <= limit, int(limit * problems / work.prompts))
