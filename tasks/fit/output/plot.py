"""Pictures of fits, forecasts and plans: one file each, format by the file's ending (svg, png, pdf)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.fit.data.measurements import Measurements
from tasks.fit.forecasting.plan import BudgetPoint, SizeOption
from tasks.fit.forecasting.trajectory import RunForecast
from tasks.fit.laws import LAWS, law_named
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.uncertainty.inference import BootstrappedFit, with_draws
from tasks.fit.validation.benchmark_gain import Gain
from tasks.records.findings import ReuseEffect
from tasks.records.fits import ForecastRecord, PointColumns
from tasks.study.errors import InputError
from tasks.study.manifests import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from tasks.study.params import Params

_ENDINGS = ("svg", "png", "pdf")
_COLORMAP = "viridis"


def new_figure(columns: int = 1) -> tuple[Figure, list[Any]]:
    """A figure with axes side by side, drawn without any display."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4 * columns, 4.4), layout="constrained")
    return figure, list(np.atleast_1d(figure.subplots(1, columns)))


def save(figure: Figure, path: Path) -> None:
    """Writes a figure atomically.

    Raises:
        InputError: an ending that is no picture format.
    """
    ending = path.suffix.removeprefix(".").lower()
    if ending not in _ENDINGS:
        raise InputError(f"--plot {path}: expected a name ending in .{', .'.join(_ENDINGS)}")
    import matplotlib

    # Fixed salt and no date: equal pictures are equal bytes.
    with matplotlib.rc_context({"svg.hashsalt": "rlscale"}), atomic_path(path) as temporary:
        figure.savefig(temporary, format=ending, metadata={"Date": None} if ending == "svg" else None)


def draw_laws(groups: list[tuple[str, Measurements]], law: str, options: Options) -> Figure:
    """`draw_fits` of one law on every group."""
    return draw_fits([(name, with_draws(fit_law(points, law_named(law), options))) for name, points in groups])


def draw_study(params: Params) -> Figure:
    """`draw_fits` of the primary law on the study's own points against compute.

    Raises:
        InputError: the stage has not run.
    """
    from tasks.fit.data.points import read_points
    from tasks.fit.study import options_of, primary_points
    from tasks.study.paths import StudyPaths

    rows = read_points(StudyPaths.of(params).stage("fit") / PointColumns.NAME)
    fits: list[tuple[str, BootstrappedFit]] = []
    for variant in params.grid.variants:
        if primary := primary_points(rows, variant, "compute", params):
            points, law = primary
            fits.append((variant, with_draws(fit_law(points, LAWS[law], options_of(params)))))
    return draw_fits(fits)


def draw_fits(fits: list[tuple[str, BootstrappedFit]]) -> Figure:
    """Points and fitted lines of every group, and k(N) in the last panel."""
    figure, axes = new_figure(len(fits) + 1)
    for axis, (group, fit) in zip(axes, fits, strict=False):
        draw_curves(axis, fit)
        axis.set_title(f"{group}: {fit.result.law.equation}", fontsize=9)
    for group, fit in fits:
        draw_k(axes[-1], fit, group)
    axes[-1].legend(fontsize=8)
    return figure


def draw_curves(axis: Axes, fit: BootstrappedFit) -> None:
    """Loss against the resource in log-log, one color per size."""
    points = fit.result.points
    for index, size in enumerate(points.sizes):
        color, of_size = _color(index, len(points.sizes)), points.size == index
        axis.plot(points.resource[of_size], points.loss[of_size], ".", color=color, markersize=2, alpha=0.5)
        x = np.linspace(points.x[of_size].min(), points.x[of_size].max(), 50)
        fitted = 10.0 ** fit.result.parameters.predict(np.full(50, size), x)
        axis.plot(10.0**x, fitted, "-", color=color, linewidth=1.5, label=points.label(size))
    axis.set(xscale="log", yscale="log", xlabel=points.unit, ylabel="test loss")
    axis.legend(fontsize=7, ncols=2)


def draw_k(axis: Axes, fit: BootstrappedFit, group: str) -> None:
    """k(N) of the law with its 95 % band."""
    points = fit.result.points
    sizes = points.sizes
    if getattr(fit.result.law, "k_of_unseen", False):
        sizes = np.geomspace(points.sizes[0], points.sizes[-1], 60)
    low, high = np.quantile(fit.draws.k(sizes), [0.025, 0.975], axis=0)
    (line,) = axis.plot(sizes, fit.result.parameters.k(sizes), label=f"{group} {points.unit}")
    axis.fill_between(sizes, low, high, alpha=0.2, color=line.get_color())
    axis.set(xscale="log", xlabel="N", ylabel="learning efficiency k")


def _color(index: int, count: int) -> Any:
    import matplotlib

    return matplotlib.colormaps[_COLORMAP](0.9 * index / max(count - 1, 1))


def draw_reuse(effects: dict[str, list[ReuseEffect]]) -> Figure:
    """Final loss against that of tau = 1, by tau, with 95 % intervals."""
    figure, (axis,) = new_figure()
    for group, rows in effects.items():
        ratio = np.array([row.ratio.value for row in rows], dtype=float)
        ends = np.array([[row.ratio.low for row in rows], [row.ratio.high for row in rows]], dtype=float)
        axis.errorbar([row.tau for row in rows], ratio, yerr=np.abs(ends - ratio), fmt="o-", capsize=3, label=group)
    axis.axhline(1.0, color="grey", linewidth=1)
    axis.set(xscale="log", xlabel="reuse factor tau", ylabel="final loss / final loss at tau = 1")
    axis.legend(fontsize=8)
    return figure


def draw_gains(gains: list[Gain]) -> Figure:
    """Loss removed by training against size, one line per benchmark; dashed out of the trained domain."""
    figure, (axis,) = new_figure()
    for name in dict.fromkeys(row.benchmark for row in gains):
        rows = [row for row in gains if row.benchmark == name]
        style = "o-" if rows[0].in_domain else "s--"
        axis.plot([row.n for row in rows], [row.absolute for row in rows], style, markersize=4, label=name)
    axis.axhline(0.0, color="grey", linewidth=1)
    axis.set(xscale="log", xlabel="N", ylabel="test loss before - after training")
    axis.legend(fontsize=7)
    return figure


def draw_forecast(fit: BootstrappedFit, record: ForecastRecord) -> Figure:
    """The fitted curves with the forecast and its intervals."""
    figure, (axis,) = new_figure()
    draw_curves(axis, fit)
    for low, high, width in ((record.low95, record.high95, 1), (record.low80, record.high80, 2.5)):
        axis.plot([record.x, record.x], [low, high], "-", color="black", linewidth=width)
    axis.plot(record.x, record.loss, "o", color="black", markersize=4)
    axis.set_title(f"N = {record.n:.3g}: {record.loss:.3f} [{record.low95:.3f}, {record.high95:.3f}]", fontsize=9)
    return figure


def draw_trajectory(points: Measurements, forecast: RunForecast) -> Figure:
    """A run's points so far and their forecast."""
    figure, (axis,) = new_figure()
    own = points.run == points.runs.index(forecast.run)
    axis.plot(points.resource[own], points.loss[own], ".", color="black", markersize=3, label=forecast.run)
    for low, high in (("low95", "high95"), ("low80", "high80"), ("low50", "high50")):
        bounds = [[getattr(row, name) for row in forecast.loss] for name in (low, high)]
        axis.fill_between(forecast.resource, *bounds, alpha=0.2, color="tab:blue", linewidth=0)
    axis.plot(forecast.resource, [row.value for row in forecast.loss], color="tab:blue")
    if forecast.target is not None:
        axis.axhline(forecast.target, color="tab:red", linewidth=1, linestyle="--")
    axis.set(xscale="log", yscale="log", xlabel=points.unit, ylabel="test loss")
    axis.legend(fontsize=8)
    return figure


def draw_plan(options: list[SizeOption], axis_points: list[BudgetPoint]) -> Figure:
    """Predicted loss by size under the budget, and the best size along the budget axis."""
    figure, (left, right) = new_figure(2)
    rows = sorted((row for row in options if row.loss is not None), key=lambda row: row.n)
    loss = np.array([row.loss for row in rows], dtype=float)
    half_width = np.abs(np.array([[row.low for row in rows], [row.high for row in rows]], dtype=float) - loss)
    left.errorbar([row.n for row in rows], loss, yerr=half_width, fmt="o", capsize=3)
    left.set(xscale="log", xlabel="N", ylabel="predicted loss under the budget")
    best = [row for row in axis_points if row.loss is not None]
    right.plot([row.budget for row in best], [row.loss for row in best], "o-")
    for row in best:
        right.annotate(
            f"{row.size}", (row.budget, row.loss or 0.0), fontsize=8, xytext=(3, 5), textcoords="offset points"
        )
    right.set(xscale="log", xlabel=f"budget, {best[0].unit if best else ''}", ylabel="loss of the best size")
    return figure


def draw_grid(rows: list[tuple[str, int, float, float, float, int]]) -> Figure:
    """GPU-hours of a study by size."""
    figure, (axis,) = new_figure()
    axis.bar([row[0] for row in rows], [row[3] for row in rows])
    axis.set(yscale="log", xlabel="size", ylabel="GPU-hours, all runs of the size")
    return figure
