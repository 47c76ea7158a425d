"""`rlscale import`: other trainers' logs and tables as points of a scaling law."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.column_options import ReadingOptions
from flows.cli.options import JsonOption, option_groups, print_json


@dataclass(frozen=True)
class LogOptions(ReadingOptions):
    """What the user says of a log; without it the log decides, and a question ends the command."""

    completions: Annotated[int | None, typer.Option("--completions", min=1, help="Completions a prompt.")] = None


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
    from tasks.fit.data.groups import points_table
    from tasks.fit.data.sources import read_sources
    from tasks.fit.data.table import write_table

    columns = replace(log.reading(), log=replace(log.import_options(), completions=log.completions))
    table, notes = read_sources(sources, columns.log)
    if table.word != "point":
        table, more = points_table(table, columns)
        notes += more
    write_table(output, table)
    if as_json:
        print_json({"points": len(table), "columns": list(table.values), "notes": notes, "file": output})
        return
    for note in notes:
        print(f"- {note}")
    print(f"{len(table)} points: {output}")
