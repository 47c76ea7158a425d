"""JSONL metrics: one object a line, keys differ from line to line (own loops, tinker-cookbook, W&B history)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tasks.imports.logged_run import ColumnBuilder, LoggedRun
from tasks.study.errors import InputError

RUN_KEYS = ("run_id", "runid", "run", "run_name", "Name", "name", "experiment")


def rows_of(path: Path, text: str) -> Iterator[dict[str, Any]]:
    """The objects of the lines, or of one array; an unfinished last line (a writer that was killed) is left out.

    Raises:
        InputError: another line is not a JSON object.
    """
    if text.lstrip()[:1] == "[":
        yield from _array_of(path, text)
        return
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            if number == len(lines) and not text.endswith("\n"):
                return
            raise InputError(f"{path}: line {number}: expected a JSON object ({error.msg})") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}: line {number}: expected a JSON object, found {type(row).__name__}")
        yield row


def _array_of(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: line {error.lineno}: expected an array of JSON objects ({error.msg})") from None
    if not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: expected an array of JSON objects")
    return list(rows)


def read_metrics_lines(path: Path, text: str) -> list[LoggedRun]:
    """A run for each value of a run key (`run_id`, `run`, `Name`, ...), or one for the file where no line has any."""
    builders: dict[str, tuple[ColumnBuilder, dict[str, str]]] = {}
    stem = path.name.split(".")[0]
    for row in rows_of(path, text):
        name = next((str(row[key]) for key in RUN_KEYS if isinstance(row.get(key), str)), stem)
        builder, settings = builders.setdefault(name, (ColumnBuilder(), {}))
        builder.add(row)
        settings.update({key: value for key, value in row.items() if isinstance(value, str) and key not in RUN_KEYS})
    return [LoggedRun(str(path), name, builder.columns(), found) for name, (builder, found) in builders.items()]
