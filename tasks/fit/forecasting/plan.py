"""What a budget buys: for each size the steps, the predicted loss and the chance of being the best choice.

The law gives loss against the resource X of the points (compute C = 6 N T of training, or data D in prompts); a step
adds 6 N T, or B prompts. Chances come from joint draws: in each draw every size has its loss, and one of them is
lowest. Where the budget is time or money, each draw has its own seconds of a step by size, as far off as
`Efficiency.spread` says.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.costs.gpu_table import Gpu
from tasks.costs.step_cost import Budget, Cost, Workload, cost_of
from tasks.costs.step_time import Efficiency
from tasks.fit.forecasting.forecast import as_loss, size_errors, warnings_of
from tasks.fit.forecasting.plan_draws import PlanDraws
from tasks.fit.forecasting.workload import per_step
from tasks.fit.uncertainty.inference import BootstrappedFit, interval
from tasks.study.errors import InputError

_AXIS = tuple(2.0**power for power in range(-4, 5))
MOST_STEPS = 1e6


@dataclass(frozen=True)
class PlanSettings:
    """What a plan is made for.

    Attributes:
        work: a step's prompts, completions, tokens, evaluation.
        gpu: the GPU.
        efficiency: shares of peak.
    """

    work: Workload
    gpu: Gpu
    efficiency: Efficiency

    def cost(self, n: float, steps: float = 1.0) -> Cost:
        """Full cost of some steps of size n."""
        return cost_of(n, steps, self.work, self.gpu, self.efficiency)


@dataclass(frozen=True)
class SizeOption:
    """One size under the budget: `loss` with its 95 % interval (where the law's curve lies, not single runs)."""

    n: float
    size: str
    steps: int
    resource: float
    cost: Cost
    loss: float | None
    low: float | None
    high: float | None
    chance_best: float
    warnings: list[str]


@dataclass(frozen=True)
class BudgetPoint:
    """The best size at one budget."""

    budget: float
    unit: str
    size: str | None
    steps: int
    loss: float | None


@dataclass(frozen=True)
class TargetOption:
    """The cheapest way of one size to a target loss: steps at the estimate and at 80 % confidence, if any."""

    n: float
    size: str
    steps: int | None
    cost: Cost | None
    steps_80: int | None
    cost_80: Cost | None


@dataclass(frozen=True)
class Plan:
    """A budget's answer.

    Attributes:
        options: every size, lowest predicted loss first.
        axis: the best size along the budget axis.
        targets: ways to the target loss, cheapest first; empty without a target.
        notes: what to know about the best choice.
    """

    options: list[SizeOption]
    axis: list[BudgetPoint]
    targets: list[TargetOption]
    notes: list[str]


def make_plan(
    fit: BootstrappedFit, sizes: list[float], budget: Budget, settings: PlanSettings, target: float | None = None
) -> Plan:
    """Answers what a budget buys.

    Args:
        fit: a fit, with draws, of a law that can speak about all of `sizes`.
        sizes: N to consider.
        budget: what may be spent.
        settings: workload and hardware.
        target: loss to reach as cheaply as possible; None: no target.

    Raises:
        InputError: the budget does not buy one step of any size, or the target is no loss.
    """
    options = options_under(fit, sizes, budget, settings)
    best = options[0]
    if best.loss is None:
        raise InputError(f"--budget {budget}: does not buy one step of any of the {len(sizes)} sizes")
    targets = cost_to_target(fit, sizes, target, settings) if target is not None else []
    notes = [f"best choice {best.size}: {note}" for note in best.warnings]
    return Plan(options, budget_axis(fit, sizes, budget, settings), targets, notes)


def options_under(fit: BootstrappedFit, sizes: list[float], budget: Budget, settings: PlanSettings) -> list[SizeOption]:
    """Every size under the budget, cheapest loss first.

    Args:
        fit: a fit of a law that can speak about all of `sizes`.
        sizes: N to consider.
        budget: what may be spent on each.
        settings: workload and hardware.
    """
    points, law = fit.result.points, fit.result.law
    error = size_errors(points, law, fit.result.options)
    n = np.array(sizes)
    steps = np.array([budget.steps(settings.cost(size)) for size in sizes])
    affordable = steps >= 1
    resource = per_step(points, n, settings.work) * np.maximum(steps, 1)
    x, joint = np.log10(resource), PlanDraws.of(fit, sizes, error)
    center, mean = fit.result.parameters.predict(n, x), joint.losses(x)
    spread = 0.0 if budget.unit == "flop" else settings.efficiency.spread
    draws = np.where(affordable, mean + joint.time_shift(x, spread), np.inf)
    wins = np.zeros(len(n))
    if affordable.any():
        wins = np.bincount(np.argmin(draws, axis=1), minlength=len(n)) / len(draws)
    rows = []
    for index, size in enumerate(sizes):
        curve = as_loss(interval(float(center[index]), mean[:, index]))
        loss, low, high = (curve.value, curve.low95, curve.high95) if affordable[index] else (None, None, None)
        notes = ["not even one step"]
        if affordable[index]:
            notes = warnings_of(points, size, float(resource[index]), error)[0]
        rows.append(
            SizeOption(
                size,
                points.label(size),
                int(steps[index]),
                float(resource[index]) if affordable[index] else 0.0,
                settings.cost(size, float(steps[index])),
                loss,
                low,
                high,
                float(wins[index]),
                notes,
            )
        )
    return sorted(rows, key=lambda row: (row.loss is None, row.loss or 0.0))


def budget_axis(fit: BootstrappedFit, sizes: list[float], budget: Budget, settings: PlanSettings) -> list[BudgetPoint]:
    """The best size from a sixteenth of the budget to sixteen times it, by the estimate."""
    points, n = fit.result.points, np.array(sizes)
    rate = per_step(points, n, settings.work)
    rows = []
    for factor in _AXIS:
        part = budget.scaled(factor)
        steps = np.array([part.steps(settings.cost(size)) for size in sizes])
        eta = fit.result.parameters.predict(n, np.log10(rate * np.maximum(steps, 1)))
        eta = np.where(steps >= 1, eta, np.inf)
        best = int(np.argmin(eta))
        if not np.isfinite(eta[best]):
            rows.append(BudgetPoint(part.amount, part.unit, None, 0, None))
            continue
        rows.append(
            BudgetPoint(part.amount, part.unit, points.label(sizes[best]), int(steps[best]), float(10.0 ** eta[best]))
        )
    return rows


def cost_to_target(
    fit: BootstrappedFit, sizes: list[float], target: float, settings: PlanSettings
) -> list[TargetOption]:
    """Steps and cost of every size to a target loss, cheapest first.

    Raises:
        InputError: the target is no loss.
    """
    if not 0 < target < 1:
        raise InputError(f"--target-loss: expected a loss in (0, 1), found {target:g}")
    points = fit.result.points
    error = size_errors(points, fit.result.law, fit.result.options)
    joint, rates, rows = PlanDraws.of(fit, sizes, error), per_step(points, np.array(sizes), settings.work), []
    for index, size in enumerate(sizes):
        rate = float(rates[index])
        steps, steps_80 = (_steps_to(joint, index, rate, np.log10(target), sure) for sure in (False, True))
        cost, cost_80 = (settings.cost(size, count) if count else None for count in (steps, steps_80))
        rows.append(TargetOption(size, points.label(size), steps, cost, steps_80, cost_80))
    return sorted(rows, key=lambda row: (row.cost is None, row.cost.usd if row.cost else 0.0))


def _steps_to(joint: PlanDraws, index: int, rate: float, goal: float, sure: bool) -> int | None:
    """Fewest steps whose predicted log10 loss (its 80 % quantile where `sure`) is at or below the goal, or None."""
    grid = np.unique(np.round(np.geomspace(1, MOST_STEPS, 241)))
    x = np.log10(grid * rate)
    if sure:
        eta = np.quantile(joint.of_size(index, x), 0.8, axis=0)
    else:
        eta = joint.fit.result.parameters.predict(np.full(len(x), joint.n[index]), x)
    below = np.flatnonzero(eta <= goal)
    if not len(below):
        return None
    first = int(below[0])
    if first == 0:
        return 1
    fraction = (eta[first - 1] - goal) / (eta[first - 1] - eta[first])
    return int(np.ceil(grid[first - 1] * (grid[first] / grid[first - 1]) ** fraction))
