"""`rlscale forecast`: the loss of a size at a resource, or the rest of a running trajectory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.column_options import (
    ColumnOptions,
    FileArgument,
    FitOptions,
    LawOption,
    MixedOption,
    OutputOptions,
    VariantOption,
    parse_size,
    print_reading,
    print_tables,
    study_points_path,
)
from flows.cli.options import DEFAULT_PARAMS, ParamsOption, option_groups
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from tasks.fit.data.measurements import Measurements
    from tasks.fit.forecasting.trajectory import RunForecast


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
    run: Annotated[str | None, typer.Option("--run", help="Forecast the rest of this run.", metavar="ID")] = None,
    target_loss: Annotated[float | None, typer.Option("--target-loss", help="With --run: chance to reach it.")] = None,
    law: LawOption = None,
    columns: ColumnOptions,
    variant: VariantOption = None,
    fitting: FitOptions,
    allow_mixed: MixedOption = False,
    params: ParamsOption = DEFAULT_PARAMS,
    output: OutputOptions,
) -> None:
    """Predict the loss of a size at a resource, or the rest of a running trajectory, with honest intervals.

    Default law: saturating for sizes in the file; for others the one whose forecasts of each larger size from the
    smaller ones erred least.
    """
    from tasks.fit.data.groups import read_group

    size = None if n is None else parse_size(n, "--n")
    resource = None if x is None else parse_size(x, "--x")
    options = fitting.options()
    name, points = read_group(file or study_points_path(params), columns.columns(), allow_mixed, variant)
    print_reading(points.notes)
    if run is not None:
        from tasks.fit.forecasting.trajectory import forecast_run
        from tasks.fit.laws import law_named

        prior = None if law is None else law_named(law)
        resources = None if resource is None else [resource]
        _show_trajectory(points, forecast_run(points, run, prior, options, resources, target_loss), output)
        return
    if size is None or resource is None:
        raise InputError("forecast: give --n and --x, or --run for a running trajectory")
    from tasks.fit.analysis import forecast_at
    from tasks.fit.forecasting.law_choice import fit_for_sizes
    from tasks.fit.output.plot import draw_forecast
    from tasks.fit.output.tables import forecast_table

    fit = fit_for_sizes(points, law, [size], options)
    row = forecast_at(fit, name, size, resource)
    output.show(row, lambda: draw_forecast(fit, row), lambda: print_tables([forecast_table(row)], row.warnings))


def _show_trajectory(points: Measurements, row: RunForecast, output: OutputOptions) -> None:
    from tasks.fit.output.plot import draw_trajectory
    from tasks.fit.output.tables import trajectory_table

    notes = [f"prior: {row.prior}"]
    output.show(row, lambda: draw_trajectory(points, row), lambda: print_tables([trajectory_table(row)], notes))
