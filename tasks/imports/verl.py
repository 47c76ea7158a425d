"""verl's console log (`step:3 - key:value - ...`) and its file logger (`{"step": 3, "data": {...}}` a line)."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tasks.imports.logged_run import ColumnBuilder, LoggedRun, columns_of
from tasks.study.errors import InputError

_STEP_LINE = re.compile(r"(?:^|[\s)])step:(\d+) - (.+)$", re.MULTILINE)
_PAIR = re.compile(
    r"(?:^| - )([^\s:][^:\n]*?):\s?(?:np\.\w+\()?(-?(?:\d[\d.]*(?:[eE][+-]?\d+)?|inf|nan))\)?(?= - |\s*$)"
)
_SETTINGS = {
    "batch": re.compile(r"train_batch_size['\"]?\s*[:=]\s*(\d+)"),
    "completions": re.compile(r"rollout\.n\s*=\s*(\d+)"),
    "model": re.compile(r"model\.path\s*=\s*['\"]?([^\s'\"]+)"),
    "n_params": re.compile(r"contains ([\d.]+\s?[KMB]) parameters"),
}


def is_console(text: str) -> bool:
    """Whether a text holds verl's step lines."""
    return _STEP_LINE.search(text) is not None


def read_console(path: Path, text: str) -> list[LoggedRun]:
    """One run from the step lines of a console log; other lines are read for the settings only.

    A prefix (Ray's actor name, a time) may stand before `step:`. Step 0 may come twice: the evaluation before training,
    and the first step of versions that count from 0.
    """
    builder = ColumnBuilder()
    for match in _STEP_LINE.finditer(text):
        row = {key: float(value) for key, value in _PAIR.findall(match.group(2))}
        builder.add(row | {"step": float(match.group(1))})
    first = _STEP_LINE.search(text)
    head = text[: first.start()] if first else ""
    settings = {name: found.group(1) for name, pattern in _SETTINGS.items() if (found := pattern.search(head))}
    return [LoggedRun(str(path), path.name.split(".")[0], builder.columns(), settings)]


def is_file_logger(row: object) -> bool:
    """Whether a JSON line is one of verl's file logger."""
    return isinstance(row, dict) and set(row) == {"step", "data"} and isinstance(row["data"], dict)


def read_file_logger(path: Path, text: str) -> list[LoggedRun]:
    """One run from the lines of the file logger.

    Raises:
        InputError: a complete line is not of that form.
    """
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if not is_file_logger(row):
            raise InputError(f'{path}: line {number}: expected {{"step": N, "data": {{...}}}}')
        rows.append(row["data"] | {"step": row["step"]})
    return [LoggedRun(str(path), path.name.split(".")[0], columns_of(rows))]
