"""Plans as records that the page computes with; `PlanModel` says what is in one."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tasks.costs.gpu_table import Gpu, find_gpu, gpu_keys
from tasks.costs.step_cost import Budget
from tasks.costs.step_time import Efficiency
from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.forecasting.forecast import as_loss, size_errors
from tasks.fit.forecasting.law_choice import pick_law
from tasks.fit.forecasting.plan import MOST_STEPS, PlanSettings, options_under
from tasks.fit.forecasting.plan_draws import PlanDraws
from tasks.fit.forecasting.workload import per_step, workload_of
from tasks.fit.solver.estimate import fit_law
from tasks.fit.solver.parameters import LineParameters
from tasks.fit.uncertainty.inference import BootstrappedFit, interval, with_draws
from tasks.fit.validation.reuse_effect import reuse_limit
from tasks.records.plans import GpuCost, MeasuredCurve, PlanCurve, PlanModel, PlanRow
from tasks.study.params import Params

_CURVED_KNOTS = 49
_PICTURE_POINTS, _PICTURE_DECADES = 25, 1.5
_MEASURED_POINTS = 400
_NUMBERS, _STUDY_NUMBERS = 400_000, 30_000
_STUDY_GPU = "h100"


def plan_model(
    name: str,
    fit: BootstrappedFit,
    reason: str,
    sizes: list[float],
    settings: PlanSettings,
    gpus: Sequence[Gpu],
    assumed: list[str],
    budget: Budget | None = None,
    numbers: int = _NUMBERS,
) -> PlanModel:
    """A plan that can be asked about any budget.

    Args:
        name: variant or group.
        fit: a fit, with draws, of a law that can speak about all of `sizes`.
        reason: why its law was taken.
        sizes: N to consider.
        settings: workload, hardware of the answer, efficiency.
        gpus: other GPUs.
        assumed: sentences about what was read from the points or assumed.
        budget: of the answer; None: the GPU-hours that the longest run of the largest size would take.
        numbers: of draws that may be kept; more draws than fit are left out.
    """
    points, law, n = fit.result.points, fit.result.law, np.array(sizes, dtype=float)
    joint = PlanDraws.of(fit, sizes, size_errors(points, law, fit.result.options))
    rate = per_step(points, n, settings.work)
    knots = 2 if isinstance(fit.draws, LineParameters) else _CURVED_KNOTS
    spacing = float(np.log10(MOST_STEPS)) / (knots - 1)
    start = np.log10(rate)
    places = start[:, None] + spacing * np.arange(knots)
    shifted = bool(joint.shift.any())
    made = fit.result.options.draws
    kept = max(min(made, numbers // (len(n) * (knots + 2 + shifted))), 1)
    asked = budget or _usual_budget(points, settings)
    return PlanModel(
        name=name,
        resource=points.unit,
        law=law.name,
        reason=reason,
        n=sizes,
        labels=[points.label(size) for size in sizes],
        rate=rate.tolist(),
        flops=[settings.cost(size).total_flops for size in sizes],
        ends=joint.ends.tolist(),
        start=start.tolist(),
        spacing=spacing,
        knots=knots,
        center=[fit.result.parameters.predict(np.full(knots, size), places[i]).tolist() for i, size in enumerate(n)],
        draws=kept,
        draws_made=made,
        curves=_packed(np.stack([fit.draws.predict(n, x) for x in places.T], axis=-1)[:kept]),
        shift=_packed(joint.shift[:kept]) if shifted else None,
        drift=_packed(joint.drift[:kept]),
        late=_packed(joint.late[:kept]),
        spread=settings.efficiency.spread,
        prompts=settings.work.prompts,
        reuse_limit=reuse_limit(None)[0],
        reuse_source=reuse_limit(None)[1],
        gpus=[_gpu_cost(gpu, sizes, settings) for gpu in (settings.gpu, *gpus)],
        budget=asked.amount,
        unit=asked.unit,
        rows=_rows(fit, sizes, asked, settings),
        picture=[_curve(joint, index, rate[index], asked, settings) for index in range(len(n))],
        measured=_measured(points, sizes),
        assumed=[*settings.efficiency.assumptions(), *assumed],
    )


def study_plan(variant: str, primary: BootstrappedFit, params: Params) -> PlanModel:
    """The plan of a study's variant, as `rlscale plan` makes it with the step of the params.

    Args:
        variant: its name.
        primary: the fit reported first, along compute.
        params: the study.
    """
    points, options = primary.result.points, primary.result.options
    sizes = points.sizes.tolist()
    work, notes = workload_of(points, params.train.batch, params.train.group_size, None, params.prepare.heldout)
    picked = pick_law(points, None, sizes, options)
    fit = primary if picked.law is primary.result.law else with_draws(fit_law(points, picked.law, options))
    gpu = find_gpu(_STUDY_GPU)
    settings = PlanSettings(work, gpu, Efficiency())
    return plan_model(variant, fit, picked.reason, sizes, settings, other_gpus(gpu), notes, numbers=_STUDY_NUMBERS)


def other_gpus(gpu: Gpu, table: Path | None = None) -> list[Gpu]:
    """The GPUs of a table but one."""
    return [find_gpu(key, table) for key in gpu_keys(table) if key != gpu.key]


def _packed(values: Floats) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<f4").tobytes()).decode("ascii")


def _usual_budget(points: Measurements, settings: PlanSettings) -> Budget:
    """GPU-hours of the largest size to where its points end, to two digits."""
    largest = float(points.sizes[-1])
    rate = float(per_step(points, np.array([largest]), settings.work)[0])
    hours = points.resource[points.n == largest].max() / rate * settings.cost(largest).gpu_hours
    return Budget(float(f"{hours:.2g}"), "gpu-h")


def _gpu_cost(gpu: Gpu, sizes: list[float], settings: PlanSettings) -> GpuCost:
    costs = [replace(settings, gpu=gpu).cost(size) for size in sizes]
    hours = [cost.gpu_hours for cost in costs]
    return GpuCost(gpu.key, gpu.name, gpu.usd_per_hour, gpu.as_of, [cost.gpus for cost in costs], hours)


def _rows(fit: BootstrappedFit, sizes: list[float], budget: Budget, settings: PlanSettings) -> list[PlanRow]:
    return [
        PlanRow(o.size, o.steps, o.cost.gpu_hours, o.cost.usd, o.loss, o.low, o.high, o.chance_best)
        for o in options_under(fit, sizes, budget, settings)
    ]


def _curve(joint: PlanDraws, index: int, rate: float, budget: Budget, settings: PlanSettings) -> PlanCurve:
    """A size's loss around a budget, where it pays for a step."""
    factors = np.geomspace(10.0**-_PICTURE_DECADES, 10.0**_PICTURE_DECADES, _PICTURE_POINTS)
    price = budget.price(settings.cost(float(joint.n[index])))
    budgets = budget.amount * factors
    budgets = budgets[budgets >= price]
    x = np.log10(budgets / price * rate)
    center = joint.fit.result.parameters.predict(np.full(len(x), joint.n[index]), x)
    draws = joint.of_size(index, x)
    found = [as_loss(interval(float(center[i]), draws[:, i])) for i in range(len(x))]
    columns = [[getattr(row, name) for row in found] for name in ("value", "low95", "high95")]
    return PlanCurve(joint.fit.result.points.label(float(joint.n[index])), budgets.tolist(), *columns)


def _measured(points: Measurements, sizes: list[float]) -> list[MeasuredCurve]:
    """The points of the sizes by run, every so many of them."""
    every = max(1, -(-len(points) // _MEASURED_POINTS))
    out = []
    for index, run in enumerate(points.runs):
        of_run = np.flatnonzero(points.run == index)
        size = float(points.n[of_run[0]])
        if size in sizes and points.steps_known:
            kept = of_run[np.argsort(points.step[of_run])][::-every][::-1]
            losses = [float(f"{10.0**y:.4g}") for y in points.y[kept]]
            out.append(MeasuredCurve(str(run), sizes.index(size), points.step[kept].tolist(), losses))
    return out
