"""What `rlscale fit`, `forecast` and `plan` share: groups of options, sizes with letters, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import JsonOption, print_json, print_table
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tasks.fit.data.groups import Columns
    from tasks.fit.output.tables import TextTable
    from tasks.fit.solver.estimate import Options

FileArgument = Annotated[Path | None, typer.Argument(help="CSV or parquet file; default: the study's own points.")]
LawOption = Annotated[str | None, typer.Option("--law", help="Name of the law; default: see above.")]
XOption = Annotated[str | None, typer.Option("--x-column", help="Column of the resource X.", metavar="COLUMN")]
MixedOption = Annotated[bool, typer.Option("--allow-mixed", help="Pool runs with different protocols.")]
VariantOption = Annotated[str | None, typer.Option("--variant", help="Which group of the file; default: the first.")]


@dataclass(frozen=True)
class ColumnOptions:
    """Names of a table's columns; None: recognized by name."""

    n_column: Annotated[
        str | None, typer.Option("--n-column", help="Column of the model size N.", metavar="COLUMN")
    ] = None
    x_column: XOption = None
    loss: Annotated[str | None, typer.Option("--loss", help="Column of the loss in (0, 1].", metavar="COLUMN")] = None
    run_column: Annotated[str | None, typer.Option("--run-column", help="Column of the run.", metavar="COLUMN")] = None
    trials: Annotated[str | None, typer.Option("--trials", help="Column of graded answers.", metavar="COLUMN")] = None
    group: Annotated[str | None, typer.Option("--group", help="Splitting column, e.g. variant.", metavar="COLUMN")] = (
        None
    )

    def columns(self) -> Columns:
        """The names as `tasks.fit` takes them."""
        from tasks.fit.data.groups import Columns

        return Columns(self.n_column, self.x_column, self.loss, self.run_column, self.trials, self.group)


@dataclass(frozen=True)
class FitOptions:
    """How a law is fitted."""

    objective: Annotated[str, typer.Option("--objective", help="log, linear (as published), binomial or huber.")] = (
        "log"
    )
    draws: Annotated[int, typer.Option("--draws", min=100, help="Bootstrap draws.")] = 2000
    seed: Annotated[int, typer.Option("--seed", help="Seed of the draws.")] = 0

    def options(self, skip_steps: int = 0, equal_weight: bool = False) -> Options:
        """The options as `tasks.fit` takes them."""
        from tasks.fit.solver.estimate import Options

        return Options(self.objective, skip_steps, equal_weight, self.draws, self.seed)


@dataclass(frozen=True)
class OutputOptions:
    """What is made of a result."""

    plot: Annotated[Path | None, typer.Option("--plot", help="Draw it: .svg, .png or .pdf.", metavar="FILE")] = None
    as_json: JsonOption = False

    def show(self, result: Any, draw: Callable[[], Figure], print_text: Callable[[], None]) -> None:
        """Draws the result where a file is named for it, then prints it as JSON or as text.

        Raises:
            InputError: the file's ending is no picture format.
        """
        if self.plot is not None:
            from tasks.fit.output.plot import save

            save(draw(), self.plot)
        if not self.as_json:
            print_text()
            return
        from tasks.records.json_files import to_json

        print_json(to_json(result))


def print_tables(tables: list[TextTable], notes: list[str]) -> None:
    """Prints tables one below the other, then notes."""
    for table in tables:
        print_table(*table)
    for note in notes:
        print(f"- {note}")


def parse_size(text: str, option: str) -> float:
    """A positive count as the options give it: 7e9, 7B, 0.5b, 394k.

    Raises:
        InputError: anything else.
    """
    from tasks.costs.units import parse_count

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
    from tasks.records.fits import PointColumns
    from tasks.study.params import load_params
    from tasks.study.paths import StudyPaths

    path = StudyPaths.of(load_params(params_file)).stage("fit") / PointColumns.NAME
    if not path.is_file():
        raise InputError(f"{path}: no points; run `rlscale fit` first, or name a file")
    return path
