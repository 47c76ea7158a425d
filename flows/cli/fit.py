"""`rlscale fit`, `rlscale forecast` and `rlscale plan`: scaling laws from a study or from anybody's table.

With a file these commands are pure: no params, no Prefect, no torch. Without one they read `data/fit/points.parquet` of
the study, and `fit` first brings the stage up to date.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows.cli.column_options import (
    DrawsOption,
    FileArgument,
    FitN,
    FitRun,
    FitX,
    GroupOption,
    LawOption,
    LossOption,
    MixedOption,
    ObjectiveOption,
    PlotOption,
    SeedOption,
    SkipOption,
    TrialsOption,
    WeightOption,
    fitted,
    print_tables,
)
from flows.cli.forecast import forecast
from flows.cli.options import DEFAULT_PARAMS, JsonOption, ParamsOption, print_json, print_table
from flows.cli.plan import plan

if TYPE_CHECKING:
    from tasks.fit.data.measurements import Measurements
    from tasks.fit.data.table import Columns, Table
    from tasks.fit.solver.estimate import Options


def register(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command()(fit)
    app.command()(forecast)
    app.command()(plan)


def fit(
    file: FileArgument = None,
    n: FitN = None,
    x: FitX = None,
    loss: LossOption = None,
    run: FitRun = None,
    trials: TrialsOption = None,
    group: GroupOption = None,
    law: LawOption = None,
    objective: ObjectiveOption = "log",
    skip_steps: SkipOption = 0,
    equal_weight: WeightOption = False,
    draws: DrawsOption = 2000,
    seed: SeedOption = 0,
    allow_mixed: MixedOption = False,
    params: ParamsOption = DEFAULT_PARAMS,
    plot: PlotOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit scaling laws to a table, or to the study's own points (the stage).

    Default law: saturating. Tables with a column tau (no size) give the effect of data reuse, tables with a column
    benchmark the gain by benchmark.
    """
    if file is None:
        _fit_stage(params, plot, as_json)
        return
    from tasks.fit.data.table import Columns, read_table
    from tasks.fit.solver.estimate import Options

    table = read_table(file)
    options = Options(objective, skip_steps, equal_weight, draws, seed)
    if table.kind == "benchmarks":
        _show_gains(table, plot, as_json)
    elif table.kind == "reuse":
        _show_reuse(table, loss, options, plot, as_json)
    else:
        groups = _groups(table, Columns(n, x, loss, run, trials, group), allow_mixed)
        _show_fits(groups, law or "saturating", options, plot, as_json)


def _fit_stage(params_file: Path, plot: Path | None, as_json: bool) -> None:
    import contextlib
    import sys

    from flows.cli.stage_runner import run_stage
    from tasks.records.findings import FindingsFile
    from tasks.records.fits import FitsFile
    from tasks.records.json_files import to_json
    from tasks.study.params import load_params
    from tasks.study.paths import StudyPaths

    with contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
        run_stage("fit", params_file)
    folder = StudyPaths.of(load_params(params_file)).stage("fit")
    fits = [fit for fit in FitsFile.read(folder).fits if fit.primary]
    findings = FindingsFile.read(folder).findings
    if plot is not None:
        from tasks.fit.study import draw_study

        draw_study(load_params(params_file), plot)
    if as_json:
        print_json(to_json({"fits": fits, "findings": findings}))
        return
    for fit in fits:
        named = ", ".join(f"{name} = {value.value:.4g}" for name, value in fit.coefficients.items())
        print(f"{fit.variant} {fit.resource}: {fit.law}, {named}, R2 = {fit.r2_linear:.4f}")
    from tasks.fit.output.tables import findings_table

    print_table(*findings_table(findings))
    print(f"files: {folder}")


def _groups(table: Table, columns: Columns, allow_mixed: bool) -> list[tuple[str, Measurements]]:
    """Every group along every resource."""
    from tasks.fit.data.table import groups_of, resolve

    return [item for named in resolve(table, columns) for item in groups_of(table, named, allow_mixed).items()]


def _show_fits(
    groups: list[tuple[str, Measurements]], law: str, options: Options, plot: Path | None, as_json: bool
) -> None:
    from tasks.fit.summary import summarize
    from tasks.records.json_files import to_json

    summaries = [summarize(points, name, law, options) for name, points in groups]
    if plot is not None:
        _plot_fits(groups, law, options, plot)
    if as_json:
        print_json(to_json(summaries))
        return
    from tasks.fit.output.tables import fit_tables, notes_of

    for summary in summaries:
        print_tables(fit_tables(summary))
        for note in notes_of(summary):
            print(f"- {note}")
        print()


def _plot_fits(groups: list[tuple[str, Measurements]], law: str, options: Options, plot: Path) -> None:
    from tasks.fit.output.plot import draw_fits, save

    save(draw_fits([(name, fitted(points, law, options)) for name, points in groups]), plot)


def _show_reuse(table: Table, loss: str | None, options: Options, plot: Path | None, as_json: bool) -> None:
    from tasks.fit.data.table import reuse_groups
    from tasks.fit.output.tables import findings_table, reuse_table
    from tasks.fit.validation.findings import reuse_is_harmless
    from tasks.fit.validation.reuse_effect import reuse_effects
    from tasks.records.json_files import to_json

    groups = reuse_groups(table, loss)
    effects = {name: reuse_effects(points, options, name) for name, points in groups.items()}
    findings = [finding for name, rows in effects.items() for finding in reuse_is_harmless(rows, name)]
    if plot is not None:
        from tasks.fit.output.plot import draw_reuse, save

        save(draw_reuse(effects), plot)
    if as_json:
        print_json(to_json({"reuse": effects, "findings": findings}))
        return
    print_tables([*(reuse_table(rows, name) for name, rows in effects.items()), findings_table(findings)])
    for finding in findings:
        print(f"- {finding.key}: {finding.reason}")
    if all(len(points.runs) == len(points.sizes) for points in groups.values()):
        print("- one run per tau: intervals come from blocks of each run and hold no run-to-run variation")


def _show_gains(table: Table, plot: Path | None, as_json: bool) -> None:
    from tasks.fit.output.tables import gain_tables
    from tasks.fit.validation.benchmark_gain import gains
    from tasks.records.json_files import to_json

    rows, trends = gains(table)
    if plot is not None:
        from tasks.fit.output.plot import draw_gains, save

        save(draw_gains(rows), plot)
    if as_json:
        print_json(to_json({"gains": rows, "trends": trends}))
        return
    print_tables(gain_tables(rows, trends))
