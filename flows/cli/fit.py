"""`rlscale fit`: scaling laws from a study or from anybody's table.

With a file the command is pure: no params, no Prefect, no torch. Without one it brings the study's stage up to date.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    print_reading,
    print_tables,
)
from flows.cli.options import DEFAULT_PARAMS, ParamsOption, option_groups, progress_output

if TYPE_CHECKING:
    from tasks.fit.data.measurements import Measurements
    from tasks.fit.data.table import Table
    from tasks.fit.solver.estimate import Options


@dataclass(frozen=True)
class _ShortColumnOptions(ColumnOptions):
    """The same columns, three of them with short names, which `forecast` needs for sizes and runs."""

    n_column: Annotated[
        str | None, typer.Option("--n", "--n-column", help="Column of the model size N.", metavar="COLUMN")
    ] = None
    x_column: Annotated[
        str | None, typer.Option("--x", "--x-column", help="Column of the resource X.", metavar="COLUMN")
    ] = None
    run_column: Annotated[
        str | None, typer.Option("--run", "--run-column", help="Column of the run.", metavar="COLUMN")
    ] = None


@option_groups
def fit(
    file: FileArgument = None,
    *,
    columns: _ShortColumnOptions,
    law: LawOption = None,
    fitting: FitOptions,
    skip_steps: Annotated[int, typer.Option("--skip-steps", min=0, help="Leave out the first steps of every run.")] = 0,
    equal_weight: Annotated[
        bool, typer.Option("--equal-weight", help="Give every size the same total weight.")
    ] = False,
    allow_mixed: MixedOption = False,
    params: ParamsOption = DEFAULT_PARAMS,
    output: OutputOptions,
) -> None:
    """Fit scaling laws to a table, or to the study's own points (the stage).

    Default law: saturating. Tables with a column tau (no size) give the effect of data reuse, tables with a column
    benchmark the gain by benchmark.
    """
    if file is None:
        _fit_stage(params, output)
        return
    from tasks.fit.data.groups import all_groups
    from tasks.fit.data.sources import read_sources
    from tasks.fit.laws import minimum_points

    named, options = columns.columns(), fitting.options(skip_steps, equal_weight)
    table, notes = read_sources([file], named.log)
    if table.kind == "benchmarks":
        _show_gains(table, output)
    elif table.kind == "reuse":
        _show_reuse(table, columns.loss, options, output)
    else:
        groups = all_groups(table, named, allow_mixed, minimum_points(law))
        print_reading([*notes, *(note for _, points in groups for note in points.notes)])
        _show_fits(groups, law or "saturating", options, output)


def _fit_stage(params_file: Path, output: OutputOptions) -> None:
    from flows.cli.stage_runner import run_stage
    from tasks.fit.output.plot import draw_study
    from tasks.fit.output.tables import findings_table
    from tasks.records.findings import FindingsFile
    from tasks.records.fits import FitsFile
    from tasks.study.params import load_params
    from tasks.study.paths import StudyPaths

    with progress_output(output.as_json):
        run_stage("fit", params_file)
    study = load_params(params_file)
    folder = StudyPaths.of(study).stage("fit")
    fits = [fit for fit in FitsFile.read(folder).fits if fit.primary]
    findings = FindingsFile.read(folder).findings

    def print_text() -> None:
        for fit in fits:
            named = ", ".join(f"{name} = {value.value:.4g}" for name, value in fit.coefficients.items())
            print(f"{fit.variant} {fit.resource}: {fit.law}, {named}, R2 = {fit.r2_linear:.4f}")
        print_tables([findings_table(findings)], [])
        print(f"files: {folder}")

    output.show({"fits": fits, "findings": findings}, lambda: draw_study(study), print_text)


def _show_fits(groups: list[tuple[str, Measurements]], law: str, options: Options, output: OutputOptions) -> None:
    from tasks.fit.output.plot import draw_laws
    from tasks.fit.output.tables import fit_tables, notes_of
    from tasks.fit.summary import summarize

    summaries = [summarize(points, name, law, options) for name, points in groups]

    def print_text() -> None:
        for summary in summaries:
            print_tables(fit_tables(summary), notes_of(summary))
            print()

    output.show(summaries, lambda: draw_laws(groups, law, options), print_text)


def _show_reuse(table: Table, loss: str | None, options: Options, output: OutputOptions) -> None:
    from tasks.fit.data.groups import reuse_groups
    from tasks.fit.output.plot import draw_reuse
    from tasks.fit.output.tables import findings_table, reuse_table
    from tasks.fit.validation.findings import reuse_is_harmless
    from tasks.fit.validation.reuse_effect import reuse_effects

    groups = reuse_groups(table, loss)
    effects = {name: reuse_effects(points, options, name) for name, points in groups.items()}
    findings = [finding for name, rows in effects.items() for finding in reuse_is_harmless(rows, name)]
    tables = [*(reuse_table(rows, name) for name, rows in effects.items()), findings_table(findings)]
    notes = [f"{finding.key}: {finding.reason}" for finding in findings]
    if all(len(points.runs) == len(points.sizes) for points in groups.values()):
        notes.append("one run per tau: intervals come from blocks of each run and hold no run-to-run variation")
    result = {"reuse": effects, "findings": findings}
    output.show(result, lambda: draw_reuse(effects), lambda: print_tables(tables, notes))


def _show_gains(table: Table, output: OutputOptions) -> None:
    from tasks.fit.output.plot import draw_gains
    from tasks.fit.output.tables import gain_tables
    from tasks.fit.validation.benchmark_gain import gains

    rows, trends = gains(table)
    result = {"gains": rows, "trends": trends}
    output.show(result, lambda: draw_gains(rows), lambda: print_tables(gain_tables(rows, trends), []))
