"""What a plan takes from the points themselves, and what it has to assume."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.costs.step_cost import Workload
from tasks.fit.data.measurements import Measurements
from tasks.fit.forecasting.plan import tokens_per_step
from tasks.fit.solver.estimate import Options
from tasks.records.published import HARMLESS, UNITS
from tasks.study.errors import InputError

# As published: 512 prompts a step; 1,000 tokens are about what its runs took per completion with its prompt.
USUAL_PROMPTS, USUAL_TOKENS = 512, 1000.0
PUBLISHED_LIMIT = 25.0


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
        prompts = USUAL_PROMPTS
        if UNITS.get(points.unit) == "data":
            prompts = round(float(np.median(points.resource / points.step)))
            notes.append(f"{prompts} prompts per step, from the points")
        else:
            notes.append(f"{prompts} prompts per step assumed, as published (--prompts)")
    if tokens is None:
        step = tokens_per_step(points)
        tokens = USUAL_TOKENS if step is None else step / (prompts * completions)
        source = "assumed (--tokens)" if step is None else f"so that a step has the {step:.3g} tokens of the points"
        notes.append(f"{tokens:.0f} tokens per completion with its prompt, {source}")
    return Workload(prompts, completions, tokens, eval_problems), notes


def reuse_limit(file: Path | None) -> tuple[float, str]:
    """The largest harmless tau and its source: a table of the reuse axis, or the published study.

    Raises:
        InputError: the file is no such table.
    """
    if file is None:
        return PUBLISHED_LIMIT, "published, 7B"
    from tasks.fit.data.table import read_table, reuse_groups
    from tasks.fit.validation.reuse_effect import reuse_effects

    limit = 1.0
    for name, points in reuse_groups(read_table(file)).items():
        for row in reuse_effects(points, Options(), name):
            if row.ratio.high is None or row.ratio.high >= 1 + HARMLESS:
                break
            limit = max(limit, row.tau)
    return limit, f"{file}: final loss within {HARMLESS:.0%} at 95 %"
