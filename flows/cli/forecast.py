"""`rlscale forecast`: the loss of a size at a resource, or the rest of a running trajectory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.column_options import (
    ColumnOptions,
    FileArgument,
    FitOptions,
    LawOption,
    MixedOption,
    OutputOptions,
    PageOption,
    VariantOption,
    parse_size,
    print_reading,
    print_tables,
    study_points_path,
)
from flows.cli.cost_options import StepOptions
from flows.cli.options import DEFAULT_PARAMS, ParamsOption, option_groups
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from tasks.fit.data.measurements import Measurements
    from tasks.fit.forecasting.rule import InitialLoss
    from tasks.fit.uncertainty.inference import BootstrappedFit
    from tasks.records.fits import ForecastRecord


@dataclass(frozen=True)
class _RunOptions:
    """What is known of a run, and how sizes beyond the trained ones are read."""

    run: Annotated[str | None, typer.Option("--run", help="Forecast the rest of this run.", metavar="ID")] = None
    target_loss: Annotated[float | None, typer.Option("--target-loss", help="With --run: chance to reach it.")] = None
    initial_loss: Annotated[
        float | None, typer.Option("--initial-loss", help="Loss before training.", metavar="LOSS")
    ] = None
    initial_answers: Annotated[
        int | None, typer.Option("--initial-answers", min=1, help="Graded answers behind it.", metavar="NUMBER")
    ] = None
    damping: Annotated[
        float,
        typer.Option("--damping", min=0.0, max=1.5, help="What log N counts beyond the trained sizes."),
    ] = 0.7

    def initial(self) -> InitialLoss | None:
        """The evaluation before training.

        Raises:
            InputError: a loss without its answers, the other way round, or no loss.
        """
        from tasks.fit.forecasting.rule import InitialLoss

        if (self.initial_loss is None) != (self.initial_answers is None):
            raise InputError("forecast: give --initial-loss and --initial-answers together")
        if self.initial_loss is None or self.initial_answers is None:
            return None
        if not 0 < self.initial_loss <= 1:
            raise InputError(f"--initial-loss: expected a loss in (0, 1], found {self.initial_loss:g}")
        return InitialLoss(self.initial_loss, self.initial_answers)


SkipOption = Annotated[
    str,
    typer.Option("--skip-steps", help="First steps to leave out; auto: by held-out error.", metavar="STEPS"),
]


@option_groups
def forecast(
    file: FileArgument = None,
    *,
    n: Annotated[
        str | None, typer.Option("--n", help="Model size N, parameters: 7e9, 7B or 394k.", metavar="SIZE")
    ] = None,
    x: Annotated[
        str | None, typer.Option("--x", help="Resource X, in the unit of the file's column.", metavar="NUMBER")
    ] = None,
    of_run: _RunOptions,
    law: LawOption = None,
    skip_steps: SkipOption = "0",
    columns: ColumnOptions,
    variant: VariantOption = None,
    fitting: FitOptions,
    allow_mixed: MixedOption = False,
    params: ParamsOption = DEFAULT_PARAMS,
    page: PageOption = None,
    output: OutputOptions,
) -> None:
    """Predict the loss of a size at a resource, or the rest of a running trajectory, with honest intervals.

    Sizes of the file are read from a law, by default the one that held-out error supports. Other sizes and running
    runs are read from the trained sizes' common shape and the pivot law, damped beyond them, with the errors that the
    same rule made on trained sizes; a law named by --law takes its place for --n.
    """
    from tasks.fit.data.groups import read_group
    from tasks.fit.laws import minimum_points

    size = None if n is None else parse_size(n, "--n")
    resource = None if x is None else parse_size(x, "--x")
    source, few = file or study_points_path(params), minimum_points(law) if of_run.run is None else 1
    name, points = read_group(source, columns.columns(), allow_mixed, variant, few)
    print_reading(points.notes)
    points, notes = _without_first_steps(points, skip_steps)
    if of_run.run is not None:
        if law is not None:
            raise InputError("forecast: --law goes with --n; a run is forecast from the common shape of all runs")
        if page is not None:
            raise InputError("forecast: --html goes with --n and --x")
        _show_run(points, of_run, resource, notes, output)
        return
    if size is None or resource is None:
        raise InputError("forecast: give --n and --x, or --run for a running trajectory")
    initial = of_run.initial()
    if law is None and size not in points.sizes:
        from tasks.fit.forecasting.unseen import forecast_unseen

        row = forecast_unseen(points, name, size, resource, of_run.damping, initial)
        if page is not None:
            _write_page(page, points, row, law, fitting)
        _show_size(row, lambda: _lines(points), notes, output)
        return
    if initial is not None:
        raise InputError("forecast: --initial-loss goes with a size that the file does not have, or with --run")
    from tasks.fit.analysis import forecast_at
    from tasks.fit.forecasting.law_choice import pick_law
    from tasks.fit.solver.estimate import fit_law
    from tasks.fit.uncertainty.inference import with_draws

    picked, options = pick_law(points, law, [size], fitting.options()), fitting.options()
    fit = with_draws(fit_law(points, picked.law, options))
    row = forecast_at(fit, name, size, resource)
    if page is not None:
        _write_page(page, points, row, law, fitting)
    _show_size(row, lambda: fit, [*notes, picked.reason], output)


def _without_first_steps(points: Measurements, text: str) -> tuple[Measurements, list[str]]:
    """The points after the first steps, and why, in words.

    Raises:
        InputError: neither a number nor auto, or nothing is left.
    """
    from tasks.fit.forecasting.late_start import late_start

    if text != "auto" and not text.isdecimal():
        raise InputError(f"--skip-steps: expected a number of steps or auto, found {text!r}")
    skip, note = late_start(points) if text == "auto" else (int(text), f"steps up to {text} left out")
    if skip == 0:
        return points, [note] if text == "auto" else []
    kept = points.where(points.step > skip)
    if not len(kept):
        raise InputError(f"--skip-steps {text}: no point is left, the last step is {int(points.step.max())}")
    return kept, [note]


def _show_run(
    points: Measurements, of_run: _RunOptions, resource: float | None, notes: list[str], output: OutputOptions
) -> None:
    from tasks.fit.forecasting.trajectory import forecast_run
    from tasks.fit.output.plot import draw_trajectory
    from tasks.fit.output.tables import trajectory_table

    resources = None if resource is None else [resource]
    found = forecast_run(points, of_run.run or "", resources, of_run.target_loss, of_run.damping, of_run.initial())
    row = replace(found, notes=[*found.notes, *notes])
    lines = [f"prior: {row.prior}", *row.notes]
    output.show(row, lambda: draw_trajectory(points, row), lambda: print_tables([trajectory_table(row)], lines))


def _show_size(
    found: ForecastRecord, curves: Callable[[], BootstrappedFit], notes: list[str], output: OutputOptions
) -> None:
    """Shows the forecast of a size, drawn beside the curves of a fit."""
    from tasks.fit.output.plot import draw_forecast
    from tasks.fit.output.tables import forecast_table

    row = replace(found, warnings=[*found.warnings, *notes])
    output.show(row, lambda: draw_forecast(curves(), row), lambda: print_tables([forecast_table(row)], row.warnings))


def _write_page(page: Path, points: Measurements, row: ForecastRecord, law: str | None, fitting: FitOptions) -> None:
    """The forecast in words, above a plan of the file's sizes and of the one asked for."""
    from tasks.costs.gpu_table import find_gpu
    from tasks.costs.step_time import Efficiency
    from tasks.costs.units import short_count
    from tasks.fit.forecasting.law_choice import pick_law
    from tasks.fit.forecasting.plan import PlanSettings
    from tasks.fit.forecasting.workload import workload_of
    from tasks.fit.plan_models import other_gpus, plan_model
    from tasks.fit.solver.estimate import fit_law
    from tasks.fit.uncertainty.inference import with_draws
    from tasks.report.document import write_plan_page

    sizes, gpu, step = sorted({*points.sizes.tolist(), row.n}), find_gpu("h100"), StepOptions()
    picked = pick_law(points, law, sizes, fitting.options())
    fit = with_draws(fit_law(points, picked.law, fitting.options()))
    work, assumed = workload_of(points, **vars(step))
    plan = plan_model(
        row.variant, fit, picked.reason, sizes, PlanSettings(work, gpu, Efficiency()), other_gpus(gpu), assumed
    )
    found = (
        f"{short_count(row.n)} at {row.resource} {row.x:.4g}: loss {row.loss:.3f}, "
        f"80 % interval {row.low80:.3f} to {row.high80:.3f}, 95 % {row.low95:.3f} to {row.high95:.3f} ({row.law})"
    )
    write_plan_page(page, f"Forecast: {row.variant}", [plan], [found, *row.warnings])


def _lines(points: Measurements) -> BootstrappedFit:
    """A line per size, to be drawn."""
    from tasks.fit.laws import LAWS
    from tasks.fit.solver.estimate import Options, fit_law
    from tasks.fit.uncertainty.inference import with_draws

    return with_draws(fit_law(points, LAWS["loglinear"], Options(draws=100)))
