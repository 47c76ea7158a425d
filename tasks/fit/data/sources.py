"""Any source of measurements as one table: points, logs of trainers, run folders of studies, several at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.fit.data.points import EvaluationProtocol, point
from tasks.fit.data.table import Table, read_table
from tasks.imports.formats import files_of, read_runs
from tasks.imports.logged_run import LoggedRun
from tasks.imports.points import ImportOptions, points_of
from tasks.records.metrics import read_metrics
from tasks.records.models import read_models
from tasks.study.errors import InputError
from tasks.study.fingerprints import GRADER_VERSION
from tasks.study.grid import find_run
from tasks.study.params import make_params

_PARAMS = "params.json"


def read_sources(sources: Sequence[Path], options: ImportOptions) -> tuple[Table, list[str]]:
    """Reads files and folders as one table of points.

    Args:
        sources: tables of points, logs of any format of `tasks.imports`, `metrics.jsonl` of a study's runs, folders of
            such files; `-` for standard input.
        options: what the user says of logs.

    Returns:
        The table and what was taken for what.

    Raises:
        InputError: a file is of no known format, holds no points, or tables and logs are mixed.
    """
    runs: list[LoggedRun] = []
    own: list[dict[str, Any]] = []
    tables: list[Table] = []
    files = files_of(sources)
    of_study = [path for path in files if is_study_run(path)]
    for path in of_study or files:
        if of_study:
            own += study_run_points(path)
        elif (found := read_runs(path)) is not None:
            runs += found
        else:
            tables.append(read_table(path))
    if bool(runs) + bool(own) + bool(tables) > 1:
        raise InputError(f"{sources[0]}: logs, tables and runs of a study cannot be read together; import them apart")
    first = Path(sources[0])
    if own:
        return _table(first, {name: [row[name] for row in own] for name in own[0]}), [f"{len(own)} rows of a study"]
    if runs:
        points = points_of(runs, options)
        return _table(first, points.columns), points.notes
    return _joined(tables), []


def _table(path: Path, columns: dict[str, list[Any]]) -> Table:
    count = len(next(iter(columns.values()), ()))
    return Table(path, columns, list(range(1, count + 1)), "point")


def _joined(tables: list[Table]) -> Table:
    """Tables of equal columns as one.

    Raises:
        InputError: two tables differ in their columns.
    """
    first, *others = tables
    for table in others:
        if set(table.values) != set(first.values):
            differing = ", ".join(sorted(set(table.values) ^ set(first.values)))
            raise InputError(f"{table.path}: its columns differ from those of {first.path} ({differing})")
    if not others:
        return first
    values = {name: [value for table in tables for value in table.values[name]] for name in first.values}
    return _table(first.path, values)


def is_study_run(path: Path) -> bool:
    """Whether a file is the `metrics.jsonl` of a run of a study."""
    return path.name == "metrics.jsonl" and (path.parent / _PARAMS).is_file()


def study_run_points(path: Path) -> list[dict[str, Any]]:
    """The points of a run of a study, as the fit stage collects them.

    Raises:
        InputError: the models of the study, or an evaluated step, are missing.
    """
    import json

    folder = path.absolute().parent
    params = make_params(json.loads((folder / _PARAMS).read_text(encoding="utf-8")), folder / _PARAMS)
    run = find_run(params, folder.name)
    model = read_models(folder.parent.parent / "pretrain")[run.model]
    protocol = EvaluationProtocol.of(params, GRADER_VERSION)
    rows = [row for step in read_metrics(path) if (row := point(run, model, step, protocol)) is not None]
    if not rows:
        raise InputError(f"{path}: no evaluated step")
    return rows
