"""Options that many commands share, and how results are printed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

ParamsOption = Annotated[Path, typer.Option("--params", help="Params file of the study.", metavar="FILE")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
DEFAULT_PARAMS = Path("params.yaml")


def print_json(value: Any) -> None:
    """Prints a value as indented JSON on standard output."""
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Prints a table, as wide as its content where the output is no terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in rows:
        table.add_row(*("" if value is None else str(value) for value in row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=Console(width=1000).measure(table).maximum)
    console.print(table)
