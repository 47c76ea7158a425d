"""`rlscale import`: other trainers' logs and tables as points of a scaling law."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import JsonOption, option_groups, print_json
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from tasks.imports.points import ImportOptions


@dataclass(frozen=True)
class LogOptions:
    """What the user says of a log; without it the log decides, and a question ends the command."""

    metric: Annotated[str | None, typer.Option("--metric", help="Key of the test metric.", metavar="KEY")] = None
    accuracy: Annotated[bool, typer.Option("--accuracy", help="The metric is a share of right answers.")] = False
    error_rate: Annotated[bool, typer.Option("--error-rate", help="The metric is a share of wrong answers.")] = False
    percent: Annotated[bool, typer.Option("--percent", help="The metric is right answers in percent.")] = False
    reward: Annotated[
        tuple[float, float] | None, typer.Option("--reward", help="Rewards that stand for 0 and 1.", metavar="LOW HIGH")
    ] = None
    divide: Annotated[float | None, typer.Option("--divide", help="The value that stands for 1.")] = None
    size: Annotated[str | None, typer.Option("--size", help="N of all runs: 7e9, 7B.", metavar="SIZE")] = None
    size_from: Annotated[
        str | None, typer.Option("--size-from", help="Where N stands: name, path or column.", metavar="PLACE")
    ] = None
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Prompts a step.")] = None
    completions: Annotated[int | None, typer.Option("--completions", min=1, help="Completions a prompt.")] = None
    trials: Annotated[int | None, typer.Option("--trials", min=1, help="Graded answers behind a value.")] = None
    every: Annotated[int, typer.Option("--every", min=1, help="Keep multiples of so many steps.")] = 1
    keep: Annotated[str, typer.Option("--keep", help="Which of repeated steps counts: last or first.")] = "last"

    def options(self) -> ImportOptions:
        """The options as `tasks.imports` takes them.

        Raises:
            InputError: two scales, an empty range, or a word that is no choice.
        """
        from tasks.imports.metric_choice import Scale
        from tasks.imports.points import ImportOptions

        kinds = {"accuracy": self.accuracy, "loss": self.error_rate, "percent": self.percent}
        chosen = [kind for kind, given in kinds.items() if given]
        if len(chosen) + (self.reward is not None) + (self.divide is not None and not chosen) > 1:
            raise InputError("give one of --accuracy, --error-rate, --percent, --reward and --divide")
        if self.reward is not None and not self.reward[0] < self.reward[1]:
            raise InputError(f"--reward {self.reward[0]:g} {self.reward[1]:g}: expected LOW below HIGH")
        if self.divide is not None and not self.divide > 0:
            raise InputError(f"--divide {self.divide:g}: expected a positive number")
        if self.keep not in ("last", "first"):
            raise InputError(f"--keep {self.keep!r}: expected last or first")
        return ImportOptions(
            self.metric,
            Scale(chosen[0] if chosen else None, self.reward, self.divide),
            self.size,
            self.size_from,
            self.batch,
            self.completions,
            self.trials,
            self.every,
            self.keep,
        )


@option_groups
def import_logs(
    sources: Annotated[list[Path], typer.Argument(help="Logs, tables, stores or folders of them; - for a pipe.")],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="Points: .parquet or .csv.", metavar="FILE")],
    log: LogOptions,
    as_json: JsonOption = False,
) -> None:
    """Turn other trainers' logs into points that fit, forecast and plan take.

    Reads verl (console, file logger), W&B (chart, runs table, history), TRL, JSONL metrics, tables, MLflow stores and
    TensorBoard events, by content. Says what it took for what, and asks where it cannot know.
    """
    from tasks.fit.data.sources import read_sources
    from tasks.fit.data.table import write_table

    table, notes = read_sources(sources, log.options())
    write_table(output, table)
    if as_json:
        print_json({"points": len(table), "columns": list(table.values), "notes": notes, "file": output})
        return
    for note in notes:
        print(f"- {note}")
    print(f"{len(table)} points: {output}")
