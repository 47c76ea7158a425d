"""Which format a file has, by its content, and the runs it holds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.imports import json_lines, mlflow_store, tensorboard, trl, verl, wandb
from tasks.imports.column_names import is_points_table
from tasks.imports.delimited import header_of, read_cells
from tasks.imports.logged_run import LoggedRun
from tasks.imports.text_files import STDIN, read_text
from tasks.study.errors import InputError

LOG_SUFFIXES = (".log", ".txt", ".out", ".jsonl", ".csv", ".tsv")
TRAINER_STATE = "trainer_state.json"


def files_of(sources: Sequence[Path]) -> list[Path]:
    """The files behind sources: folders are searched for logs, tables and event files.

    Raises:
        InputError: no such file or folder, or a folder without any.
    """
    files: list[Path] = []
    for source in sources:
        if not source.is_dir():
            if source != STDIN and not source.exists():
                raise InputError(f"{source}: no such file")
            files.append(source)
            continue
        if mlflow_store.is_store(source):
            files.append(source)
            continue
        found = [path for path in sorted(source.rglob("*")) if path.is_file() and _is_log(path)]
        if not found:
            expected = ", ".join((*LOG_SUFFIXES, TRAINER_STATE))
            raise InputError(f"{source}: no log in this folder; expected {expected} or event files")
        files += _last_states(found)
    return files


def _last_states(files: list[Path]) -> list[Path]:
    """Of the trainer states in a run's `checkpoint-N` folders only that of the largest N: it holds the others' rows."""
    last: dict[Path, Path] = {}
    for path in files:
        if path.name == TRAINER_STATE and path.parent.name.startswith("checkpoint-"):
            other = last.setdefault(path.parent.parent, path)
            if _checkpoint_step(path) > _checkpoint_step(other):
                last[path.parent.parent] = path
    in_checkpoint = [path for path in files if path.parent.parent in last and path.name == TRAINER_STATE]
    return [path for path in files if path not in in_checkpoint or path in last.values()]


def _checkpoint_step(path: Path) -> int:
    number = path.parent.name.removeprefix("checkpoint-")
    return int(number) if number.isdigit() else -1


def _is_log(path: Path) -> bool:
    name = path.name.removesuffix(".gz")
    return name.endswith(LOG_SUFFIXES) or name == TRAINER_STATE or tensorboard.is_event_file(path)


def read_runs(path: Path) -> list[LoggedRun] | None:
    """The runs of a log; None: the file is a table of points, which `fit` reads by its columns.

    Raises:
        InputError: the file is of a log's format and damaged, or of none of the formats.
    """
    if mlflow_store.is_store(path):
        return mlflow_store.read_store(path)
    if tensorboard.is_event_file(path):
        return tensorboard.read_event_file(path)
    if path.suffix in (".parquet", ".pq"):
        return None
    text = read_text(path)
    if text.lstrip()[:1] in ("{", "["):
        return _read_json(path, text)
    if verl.is_console(text):
        return verl.read_console(path, text)
    return _read_delimited(path, text)


def _read_json(path: Path, text: str) -> list[LoggedRun] | None:
    first = text.lstrip().split("\n", 1)[0]
    row = _loaded(first)
    if row is None or not isinstance(row, dict):
        value = _loaded(text)
        if trl.is_trainer_state(value):
            return trl.read_trainer_state(path, value)
        row = value[0] if isinstance(value, list) and value else None
        if not isinstance(row, dict):
            raise InputError(f"{path}: expected JSON objects (lines or an array) or a trainer_state.json")
    if verl.is_file_logger(row):
        return verl.read_file_logger(path, text)
    if trl.is_trainer_state(row):
        return trl.read_trainer_state(path, row)
    return None if is_points_table(row) else json_lines.read_metrics_lines(path, text)


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return None


def _read_delimited(path: Path, text: str) -> list[LoggedRun] | None:
    header = header_of(text)
    if is_points_table(header) and not wandb.is_runs_table(header):
        return None
    readers = (
        (wandb.is_chart, wandb.read_chart),
        (wandb.is_runs_table, wandb.read_runs_table),
        (wandb.is_history, wandb.read_history),
    )
    for matches, read in readers:
        if matches(header):
            return read(path, read_cells(path, text))
    return None
