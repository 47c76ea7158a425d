"""One training step of a plan: read from the points or assumed, what it adds to X, how often it reuses problems."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tasks.costs.step_cost import Workload
from tasks.fit.data.measurements import Floats, Measurements
from tasks.study.errors import InputError

KINDS = {
    "compute": ("compute", "compute_flops", "flops", "cumulative_flops", "total_flops", "training flop", "c"),
    "data": ("data", "data_samples", "samples", "prompts", "d"),
    "tokens": ("tokens", "total_tokens", "num_tokens"),
    "step": ("step", "_step", "global_step", "checkpoint_step", "update", "iteration"),
}
"""Resources that a plan knows the cost of, by the names of their columns in lower case."""
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
    kind = resource_kind(points)
    if not points.steps_known:
        notes.append("the file has no steps: --steps-per-point says how many lie between two points")
    if prompts is None:
        prompts = DEFAULT_PROMPTS
        if kind == "data" and points.steps_known:
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


def with_steps(points: Measurements, steps_per_point: int | None) -> Measurements:
    """The points with steps by their order, `steps_per_point` apart.

    Raises:
        InputError: the file has steps of its own.
    """
    if steps_per_point is None:
        return points
    if points.steps_known:
        raise InputError("--steps-per-point: the file has steps of its own")
    return replace(points, step=points.step * steps_per_point, steps_known=True)


def resource_kind(points: Measurements) -> str:
    """compute, data, tokens or step, by the name of the resource's column.

    Raises:
        InputError: none of them.
    """
    name = points.unit.lower()
    kind = next((kind for kind, names in KINDS.items() if name in names), None)
    if kind is None:
        expected = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in KINDS.items())
        raise InputError(f"plan: resource column {points.unit!r} is none of {expected}")
    return kind


def tokens_per_step(points: Measurements) -> float | None:
    """T from the points: compute over 6 N and step, or tokens over step, median over their second half; else None."""
    kind = resource_kind(points)
    if kind not in ("compute", "tokens") or not points.steps_known:
        return None
    late = points.step > np.median(points.step)
    tokens = points.resource / (6.0 * points.n) if kind == "compute" else points.resource
    return float(np.median((tokens / points.step)[late]))


def per_step(points: Measurements, n: Floats, work: Workload) -> Floats:
    """Resource X that one step adds at sizes n [Q]: 6 N T, B prompts, T tokens or 1 step; raises as `resource_kind`."""
    of_kind = {"data": float(work.prompts), "tokens": float(work.step_tokens), "step": 1.0}
    kind = resource_kind(points)
    return 6.0 * n * work.step_tokens if kind == "compute" else np.full(len(n), of_kind[kind])


def reuse_need(steps: int, problems: int, work: Workload, limit: float, source: str) -> ReuseNeed:
    """How far `problems` unique problems stretch over a run of `steps`.

    Raises:
        InputError: fewer than one problem.
    """
    if problems < 1:
        raise InputError(f"--problems: expected at least 1, found {problems}")
    tau = steps * work.prompts / problems
    return ReuseNeed(problems, tau, limit, source, tau <= limit, int(limit * problems / work.prompts))
