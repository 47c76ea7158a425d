"""A design: which runs to buy with a budget so that one size's loss is forecast as surely as may be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tasks.costs.grid_cost import model_parameters
from tasks.costs.step_cost import Budget
from tasks.costs.units import short_count
from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.design.greedy import FIRST_STEPS, LEAST_GAIN, Purchase, Runs, buy, final_runs
from tasks.fit.design.information import LEAST_EFFECT, LEVEL_EFFECT, SLOPE_EFFECT, DesignModel, LineModel
from tasks.fit.design.weighted_fit import Pilot, fit_pivot, size_line
from tasks.fit.forecasting.plan import PlanSettings
from tasks.fit.forecasting.workload import per_step
from tasks.study.errors import InputError
from tasks.study.params import Params

_SAME_SIZE = 0.1
"""Sizes of a table and of a params file are one where N agrees to this share."""


@dataclass(frozen=True)
class Goal:
    """What a design is for.

    Attributes:
        target: N whose loss is wanted.
        resource: X at which it is wanted.
        budget: what may be spent.
        target_steps: whether first steps of the target may be bought.
        from_scratch: whether the table's runs only tell the law, and do not count as runs that are there.
    """

    target: float
    resource: float
    budget: Budget
    target_steps: bool = False
    from_scratch: bool = False


@dataclass(frozen=True)
class Design:
    """An answer.

    Attributes:
        target: N of the target.
        last_step: step at which it reaches the resource; no run is longer.
        loss: expected loss there.
        before: standard deviation of its log10 L without a purchase.
        after: with all of them.
        purchases: in order.
        runs: what is bought in the end, smallest size first.
        owned: runs of each size that are there already.
        notes: what was assumed.
    """

    target: float
    last_step: int
    loss: float
    before: float
    after: float
    purchases: list[Purchase]
    runs: list[Runs]
    owned: dict[float, int]
    notes: list[str]


def make_design(points: Measurements, goal: Goal, sizes: list[float], settings: PlanSettings) -> Design:
    """Designs with the law of a table.

    Args:
        points: the table.
        goal: what is wanted.
        sizes: N that may be bought; the target is left out of them.
        settings: workload and hardware.

    Raises:
        InputError: fewer than three sizes, losses that do not fall, a resource below one step, or a budget that buys
            nothing.
    """
    pilot = Pilot.of(points)
    coefficients = fit_pivot(points, pilot)
    last_step = int(np.ceil(goal.resource / float(per_step(points, np.array([goal.target]), settings.work)[0]) - 1e-9))
    if last_step < 2:
        raise InputError(f"--target-x {goal.resource:g}: less than two steps of N = {goal.target:g}")

    def line(n: float) -> LineModel:
        step_x = float(np.log10(per_step(points, np.array([n]), settings.work)[0]))
        return coefficients.line(n, step_x, pilot.center, pilot.noise)

    model = DesignModel(line, goal.target, last_step)
    owned: dict[float, Floats] = {}
    counts: dict[float, int] = {}
    if not goal.from_scratch:
        for n in points.sizes.tolist():
            of_size = points.where(points.n == n)
            owned[n], counts[n] = size_line(of_size, line(n)).information, len(of_size.runs)

    def price(n: float, steps: int) -> float:
        return goal.budget.price(settings.cost(n, steps))

    purchases = buy(model, [n for n in sizes if n != goal.target], goal.budget.amount, price, owned, goal.target_steps)
    if not purchases:
        raise InputError(
            f"--budget {goal.budget}: buys no run that lowers the forecast's uncertainty by {LEAST_GAIN:.1%}; "
            "what is left of it is how sizes scatter about the law"
            if any(price(n, FIRST_STEPS) <= goal.budget.amount for n in sizes)
            else f"--budget {goal.budget}: buys no {FIRST_STEPS} steps of any of the {len(sizes)} sizes"
        )
    end = line(goal.target)
    loss = 10.0 ** float(end.design(np.array([end.step_x + np.log10(last_step)]))[0] @ [end.level, end.slope])
    before, after = purchases[0].before, purchases[-1].after
    notes = [
        f"expected loss {loss:.3g}; sd of its log10 {before:.3g} before and {after:.3g} after the purchases",
        f"law: pivot through sizes weighted by what they carry, Kmax {coefficients.kmax:.3g}, N0 {coefficients.n0:.3g}",
        f"scatter of sizes about the law assumed: {LEVEL_EFFECT:.0%} of the level at {points.unit} "
        f"{10.0**pilot.center:.3g}, {SLOPE_EFFECT:.0%} of the slope, and {LEAST_EFFECT:g} of each",
        "the table's runs tell the law alone"
        if goal.from_scratch
        else f"{sum(counts.values())} runs are there already",
    ]
    return Design(goal.target, last_step, loss, before, after, purchases, final_runs(purchases), counts, notes)


def grid_entries(design: Design, points: Measurements, params: Params, variant: str) -> list[dict[str, Any]]:
    """The bought runs as entries of `grid.runs`; seeds go on after the runs that are there.

    Args:
        design: the design.
        points: the table it was made from; names its sizes.
        params: the params file whose family has the models.
        variant: of all runs.

    Raises:
        InputError: the params file has no model of a size, or no such variant.
    """
    if variant not in ("base", "instruct"):
        raise InputError(f"--write: group {variant!r} is no variant; expected base or instruct (--variant)")
    entries = []
    for runs in design.runs:
        first = design.owned.get(runs.n, 0)
        name = _model_name(runs.n, points.label(runs.n), params)
        seeds = list(range(first, first + runs.seeds))
        entries.append({"size": name, "variant": variant, "steps": runs.steps, "seeds": seeds})
    return entries


def _model_name(n: float, label: str, params: Params) -> str:
    """The family's model of a size: by name, else by the nearest N."""
    counts = {model.name: model_parameters(model) for model in params.pretrain.family.models}
    if label in counts:
        return label
    nearest = min(counts, key=lambda name: abs(np.log(counts[name] / n)))
    if abs(counts[nearest] / n - 1.0) > _SAME_SIZE:
        raise InputError(f"pretrain.family.models has no size of N = {short_count(n)}, found {', '.join(counts)}")
    return nearest
