"""What `rlscale fit`, `forecast` and `plan` share: groups of options, sizes with letters, and how they end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.options import JsonOption, print_json, print_table
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tasks.fit.data.columns import Columns
    from tasks.fit.output.tables import TextTable
    from tasks.fit.solver.estimate import Options
    from tasks.imports.metric_choice import Scale
    from tasks.imports.points import ImportOptions

FileArgument = Annotated[Path | None, typer.Argument(help="CSV or parquet file; default: the study's own points.")]
LawOption = Annotated[str | None, typer.Option("--law", help="Name of the law; default: see above.")]
XOption = Annotated[str | None, typer.Option("--x-column", help="Column of the resource X.", metavar="COLUMN")]
MixedOption = Annotated[bool, typer.Option("--allow-mixed", help="Pool runs with different protocols.")]
PageOption = Annotated[
    Path | None, typer.Option("--html", help="Write the plan as a page that answers in the browser.", metavar="FILE")
]
VariantOption = Annotated[str | None, typer.Option("--variant", help="Which group of the file; default: the first.")]


@dataclass(frozen=True)
class ReadingOptions:
    """How a table or a log is read; without it the file decides, and where it cannot a question ends the command."""

    metric: Annotated[str | None, typer.Option("--metric", help="Of a log: key of the test metric.", metavar="KEY")] = (
        None
    )
    accuracy: Annotated[bool, typer.Option("--accuracy", help="The loss is a share of right answers.")] = False
    error_rate: Annotated[bool, typer.Option("--error-rate", help="The loss is a share of wrong answers.")] = False
    percent: Annotated[bool, typer.Option("--percent", help="The loss is right answers in percent.")] = False
    reward: Annotated[
        tuple[float, float] | None, typer.Option("--reward", help="Rewards that stand for 0 and 1.", metavar="LOW HIGH")
    ] = None
    divide: Annotated[float | None, typer.Option("--divide", "--scale", help="The value that stands for 1.")] = None
    size: Annotated[str | None, typer.Option("--size", help="Of a log: N of all runs.", metavar="SIZE")] = None
    size_from: Annotated[
        str | None, typer.Option("--size-from", help="Of a log: where N stands: name, path, column.", metavar="PLACE")
    ] = None
    n_unit: Annotated[
        float | None, typer.Option("--n-unit", help="What a size of 1 stands for, e.g. 1e9.", metavar="NUMBER")
    ] = None
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Of a log: prompts a step.")] = None
    trials: Annotated[
        str | None, typer.Option("--trials", help="Graded answers: column or number.", metavar="COLUMN")
    ] = None
    every: Annotated[int, typer.Option("--every", min=1, help="Of a log: keep multiples of so many steps.")] = 1
    keep: Annotated[str, typer.Option("--keep", help="Which of repeated steps counts: last or first.")] = "last"
    drop_missing: Annotated[bool, typer.Option("--drop-missing", help="Leave out rows without N or X.")] = False
    without: Annotated[
        list[str] | None, typer.Option("--without", help="Leave out a size; may be repeated.", metavar="SIZE")
    ] = None

    def import_options(self) -> ImportOptions:
        """The options as `tasks.imports` takes them.

        Raises:
            InputError: two scales, an empty range, or a word that is no choice.
        """
        from tasks.imports.points import ImportOptions

        if self.keep not in ("last", "first"):
            raise InputError(f"--keep {self.keep!r}: expected last or first")
        trials = int(self.trials) if self.trials is not None and self.trials.isdigit() else None
        return ImportOptions(
            metric=self.metric,
            scale=self._scale(),
            size=self.size,
            size_from=self.size_from,
            batch=self.batch,
            trials=trials,
            every=self.every,
            keep=self.keep,
        )

    def _scale(self) -> Scale:
        from tasks.imports.metric_choice import Scale

        kinds = {"accuracy": self.accuracy, "loss": self.error_rate, "percent": self.percent}
        chosen = [kind for kind, given in kinds.items() if given]
        if len(chosen) > 1 or (self.reward is not None and (chosen or self.divide is not None)):
            raise InputError("give one of --accuracy, --error-rate, --percent and --reward")
        if self.reward is not None and not -math.inf < self.reward[0] < self.reward[1] < math.inf:
            raise InputError(f"--reward {self.reward[0]:g} {self.reward[1]:g}: expected LOW below HIGH")
        if self.divide is not None and not 0 < self.divide < math.inf:
            raise InputError(f"--divide {self.divide:g}: expected a positive number")
        return Scale(chosen[0] if chosen else None, self.reward, self.divide)

    def reading(self) -> Columns:
        """The options as `tasks.fit` takes them, no column named.

        Raises:
            InputError: as `import_options`, or `--n-unit` is not positive.
        """
        from tasks.fit.data.columns import Columns

        if self.n_unit is not None and not 0 < self.n_unit < math.inf:
            raise InputError(f"--n-unit {self.n_unit:g}: expected a positive number, e.g. 1e9")
        column = None if self.trials is None or self.trials.isdigit() else self.trials
        return Columns(
            trials=column,
            n_unit=self.n_unit,
            drop_missing=self.drop_missing,
            without=tuple(self.without or ()),
            log=self.import_options(),
        )


@dataclass(frozen=True)
class ColumnOptions(ReadingOptions):
    """Names of a table's columns; None: recognized by name."""

    n_column: Annotated[
        str | None, typer.Option("--n-column", help="Column of the model size N.", metavar="COLUMN")
    ] = None
    x_column: XOption = None
    loss: Annotated[str | None, typer.Option("--loss", help="Column of the loss in (0, 1].", metavar="COLUMN")] = None
    run_column: Annotated[str | None, typer.Option("--run-column", help="Column of the run.", metavar="COLUMN")] = None
    group: Annotated[str | None, typer.Option("--group", help="Splitting column, e.g. variant.", metavar="COLUMN")] = (
        None
    )

    def columns(self) -> Columns:
        """The names as `tasks.fit` takes them."""
        return replace(
            self.reading(), n=self.n_column, x=self.x_column, loss=self.loss, run=self.run_column, group=self.group
        )


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


def print_reading(notes: Iterable[str]) -> None:
    """What was taken for what, or left out, while a file was read; on standard error, beside tables and JSON."""
    for note in dict.fromkeys(notes):
        typer.echo(f"- {note}", err=True)


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
