"""`rlscale compare`: studies and tables side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.cli.column_options import (
    ColumnOptions,
    FitOptions,
    LawOption,
    MixedOption,
    parse_size,
    print_reading,
    print_tables,
)
from flows.cli.options import JsonOption, option_groups, print_json
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from tasks.fit.comparison import Source
    from tasks.fit.data.columns import Columns


@option_groups
def compare(
    sources: Annotated[
        list[Path], typer.Argument(help="Data roots of studies, tables or logs; the others minus the first.")
    ],
    *,
    law: LawOption = None,
    x: Annotated[
        str | None, typer.Option("--at", help="Resource at which losses are compared; default: all reached it.")
    ] = None,
    columns: ColumnOptions,
    fitting: FitOptions,
    allow_mixed: MixedOption = False,
    same_protocol: Annotated[
        bool, typer.Option("--same-protocol", help="Refuse sources whose protocol differs or is not known.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Laws, k(N) and losses of two or more studies or tables, their differences with intervals, and what differs.

    Default law: saturating. Sources whose runs were trained or judged by another protocol are marked.
    """
    from tasks.fit.comparison import compare as compared
    from tasks.fit.comparison import params_differences, protocol_marks
    from tasks.fit.output.comparison_tables import comparison_tables, params_table
    from tasks.records.json_files import to_json

    at = None if x is None else parse_size(x, "--at")
    read = [_source(path, columns.columns(), allow_mixed, law) for path in _distinct(sources)]
    marks = protocol_marks(read)
    if same_protocol and marks:
        raise InputError(f"compare: {marks[0]}")
    found = compared(read, law or "saturating", fitting.options(), at)
    if as_json:
        print_json(to_json({"comparisons": found, "marks": marks, "params": params_differences(read)}))
        return
    differing = params_table(read)
    tables = [table for comparison in found for table in comparison_tables(comparison)]
    print_tables([*tables, *([differing] if differing else [])], marks)


def _distinct(sources: list[Path]) -> list[Path]:
    twice = [path for path in sources if sources.count(path) > 1]
    if twice:
        raise InputError(f"compare: {twice[0]} is given twice")
    return sources


def _source(path: Path, columns: Columns, allow_mixed: bool, law: str | None) -> Source:
    """A study by its data root, or a table or log.

    Raises:
        InputError: a folder without a fit, or what cannot be read as points.
    """
    from tasks.fit.comparison import Source
    from tasks.fit.data.columns import resolve
    from tasks.fit.data.groups import groups_of
    from tasks.fit.data.sources import read_sources
    from tasks.fit.laws import minimum_points
    from tasks.records.fits import PointColumns
    from tasks.records.published import UNITS

    points = path / "fit" / PointColumns.NAME
    is_study = (path / "train").is_dir()
    if is_study and not points.is_file():
        raise InputError(f"{path}: the study has no {points.name} yet; run `rlscale fit` with its params")
    table, notes = read_sources([points if is_study else path], columns.log)
    if table.kind != "scaling":
        raise InputError(f"{path}: expected points of a scaling law (size, resource, loss), found a {table.kind} table")
    resources = {
        UNITS.get(str(named.x), str(named.x)): groups_of(table, named, allow_mixed, minimum_points(law))
        for named in resolve(table, columns)
    }
    print_reading([*notes, *(note for groups in resources.values() for part in groups.values() for note in part.notes)])
    return Source(str(path), table, resources, _params_of(path) if is_study else None)


def _params_of(root: Path) -> dict[str, Any]:
    """The params that a study's runs were trained with, of the first run by name."""
    from tasks.fit.comparison import flattened

    found = sorted((root / "train").glob("*/params.json"))
    if not found:
        raise InputError(f"{root}: no run of the study has params.json")
    return flattened(json.loads(found[0].read_text(encoding="utf-8")))
