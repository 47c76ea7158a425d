"""`rlscale forecast`: the loss of a size at a resource, or the rest of a running trajectory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.column_options import (
    DrawsOption,
    FileArgument,
    GroupOption,
    LawOption,
    LossOption,
    MixedOption,
    NOption,
    ObjectiveOption,
    PlotOption,
    RunOption,
    SeedOption,
    TrialsOption,
    VariantOption,
    XOption,
    fitted,
    law_for,
    one_group,
    parse_size,
    print_tables,
    study_points_path,
)
from flows.cli.options import DEFAULT_PARAMS, JsonOption, ParamsOption, print_json
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from tasks.fit.data.measurements import Measurements
    from tasks.fit.solver.estimate import Options


def forecast(
    file: FileArgument = None,
    n: Annotated[
        str | None, typer.Option("--n", help="Model size N, parameters: 7e9, 7B or 394k.", metavar="SIZE")
    ] = None,
    x: Annotated[
        str | None, typer.Option("--x", help="Resource X, in the unit of the file's column.", metavar="NUMBER")
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="Forecast the rest of this run.", metavar="ID")] = None,
    target_loss: Annotated[float | None, typer.Option("--target-loss", help="With --run: chance to reach it.")] = None,
    law: LawOption = None,
    n_column: NOption = None,
    x_column: XOption = None,
    loss: LossOption = None,
    run_column: RunOption = None,
    trials: TrialsOption = None,
    group: GroupOption = None,
    variant: VariantOption = None,
    objective: ObjectiveOption = "log",
    draws: DrawsOption = 2000,
    seed: SeedOption = 0,
    allow_mixed: MixedOption = False,
    params: ParamsOption = DEFAULT_PARAMS,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Predict the loss of a size at a resource, or the rest of a running trajectory, with honest intervals.

    Default law: saturating for sizes in the file; for others the one whose forecasts of each larger size from the
    smaller ones erred least.
    """
    from tasks.fit.data.table import Columns
    from tasks.fit.solver.estimate import Options

    size = None if n is None else parse_size(n, "--n")
    resource = None if x is None else parse_size(x, "--x")
    options = Options(objective, draws=draws, seed=seed)
    columns = Columns(n_column, x_column, loss, run_column, trials, group)
    name, points = one_group(file or study_points_path(params), columns, allow_mixed, variant)
    if run is not None:
        _show_trajectory(points, run, law, options, (resource, target_loss), (plot, as_json))
        return
    if size is None or resource is None:
        raise InputError("forecast: give --n and --x, or --run for a running trajectory")
    from tasks.fit.analysis import forecast_at
    from tasks.fit.output.tables import forecast_table
    from tasks.records.json_files import to_json

    fit = fitted(points, law or law_for(points, [size], options), options)
    row = forecast_at(fit, name, size, resource)
    if plot is not None:
        from tasks.fit.output.plot import draw_forecast, save

        save(draw_forecast(fit, row), plot)
    if as_json:
        print_json(to_json(row))
        return
    print_tables([forecast_table(row)])
    for note in row.warnings:
        print(f"- {note}")


def _show_trajectory(
    points: Measurements,
    run: str,
    law: str | None,
    options: Options,
    aim: tuple[float | None, float | None],
    output: tuple[Path | None, bool],
) -> None:
    from tasks.fit.forecasting.trajectory import forecast_run
    from tasks.fit.laws import law_named
    from tasks.fit.output.tables import trajectory_table
    from tasks.records.json_files import to_json

    x, target = aim
    plot, as_json = output
    prior = None if law is None else law_named(law)
    row = forecast_run(points, run, prior, options, None if x is None else [x], target)
    if plot is not None:
        from tasks.fit.output.plot import draw_trajectory, save

        save(draw_trajectory(points, row), plot)
    if as_json:
        print_json(to_json(row))
        return
    print_tables([trajectory_table(row)])
    print(f"- prior: {row.prior}")
