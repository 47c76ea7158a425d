"""What `rlscale fit`, `forecast` and `plan` share: their options, and the way from a file to a fitted law."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import print_table
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from tasks.fit.data.measurements import Measurements
    from tasks.fit.data.table import Columns
    from tasks.fit.output.tables import TextTable
    from tasks.fit.solver.estimate import Options
    from tasks.fit.uncertainty.inference import BootstrappedFit

FileArgument = Annotated[Path | None, typer.Argument(help="CSV or parquet file; default: the study's own points.")]
NOption = Annotated[str | None, typer.Option("--n-column", help="Column of the model size N.", metavar="COLUMN")]
FitN = Annotated[str | None, typer.Option("--n", "--n-column", help="Column of the model size N.", metavar="COLUMN")]
XOption = Annotated[str | None, typer.Option("--x-column", help="Column of the resource X.", metavar="COLUMN")]
FitX = Annotated[str | None, typer.Option("--x", "--x-column", help="Column of the resource X.", metavar="COLUMN")]
LossOption = Annotated[str | None, typer.Option("--loss", help="Column of the loss in (0, 1].", metavar="COLUMN")]
RunOption = Annotated[str | None, typer.Option("--run-column", help="Column of the run.", metavar="COLUMN")]
FitRun = Annotated[str | None, typer.Option("--run", "--run-column", help="Column of the run.", metavar="COLUMN")]
TrialsOption = Annotated[str | None, typer.Option("--trials", help="Column of graded answers.", metavar="COLUMN")]
GroupOption = Annotated[str | None, typer.Option("--group", help="Splitting column, e.g. variant.", metavar="COLUMN")]
LawOption = Annotated[str | None, typer.Option("--law", help="Name of the law; default: see above.")]
ObjectiveOption = Annotated[str, typer.Option("--objective", help="log, linear (as published), binomial or huber.")]
SkipOption = Annotated[int, typer.Option("--skip-steps", min=0, help="Leave out the first steps of every run.")]
WeightOption = Annotated[bool, typer.Option("--equal-weight", help="Give every size the same total weight.")]
DrawsOption = Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws.")]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of the draws.")]
MixedOption = Annotated[bool, typer.Option("--allow-mixed", help="Pool runs with different protocols.")]
PlotOption = Annotated[Path | None, typer.Option("--plot", help="Draw it: .svg, .png or .pdf.", metavar="FILE")]
VariantOption = Annotated[str | None, typer.Option("--variant", help="Which group of the file; default: the first.")]


def parse_size(text: str, option: str) -> float:
    """A positive count as the options give it: 7e9, 7B, 0.5b, 394k.

    Raises:
        InputError: anything else.
    """
    from tasks.fit.data.measurements import parse_count

    try:
        value = parse_count(text)
    except ValueError:
        value = -1.0
    if value <= 0:
        raise InputError(f"{option} {text!r}: expected a number, which must be positive, e.g. 7e9, 7B or 394k")
    return value


def study_points_path(params_file: Path) -> Path:
    """The study's points.

    Raises:
        InputError: the fit stage has not run.
    """
    from tasks.study.params import load_params
    from tasks.study.paths import StudyPaths

    path = StudyPaths.of(load_params(params_file)).stage("fit") / "points.parquet"
    if not path.is_file():
        raise InputError(f"{path}: no points; run `rlscale fit` first, or name a file")
    return path


def one_group(file: Path, columns: Columns, allow_mixed: bool, variant: str | None) -> tuple[str, Measurements]:
    """One group along the first resource."""
    from tasks.fit.data.table import groups_of, read_table, resolve

    table = read_table(file)
    if table.kind != "scaling":
        raise InputError(f"{file}: expected points of a scaling law (size, resource, loss), found a {table.kind} table")
    groups = groups_of(table, resolve(table, columns)[0], allow_mixed)
    if variant is not None and variant not in groups:
        raise InputError(f"{file}: no group {variant!r}, found {', '.join(groups)}")
    name = variant or next(iter(groups))
    return name, groups[name]


def law_for(points: Measurements, sizes: list[float], options: Options) -> str:
    """saturating where all sizes were fitted, else the law that forecasts unseen sizes best."""
    if all(size in points.sizes for size in sizes):
        return "saturating"
    from tasks.fit.validation.backtest import best_for_unseen

    choice = best_for_unseen(points, options, "")
    return "pivot" if choice is None or choice.chosen is None else choice.chosen


def fitted(points: Measurements, law: str, options: Options) -> BootstrappedFit:
    """Fits a law by name, with draws."""
    from tasks.fit.laws import law_named
    from tasks.fit.solver.estimate import fit_law
    from tasks.fit.uncertainty.inference import with_draws

    return with_draws(fit_law(points, law_named(law), options))


def print_tables(tables: list[TextTable]) -> None:
    """Prints tables one below the other."""
    for title, columns, rows in tables:
        print_table(title, columns, rows)
