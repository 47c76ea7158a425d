"""Grades a logic puzzle: a grid with a header and rows, as JSON in the last `<answer>` tag after the thinking.

Without a tag the last fenced block counts, or the whole answer, but it does not stand in its form.

    score = right cells / (rows x columns without the first)

counted by row label (the first column of the true grid, "Position") and column name, so their order is free; labels and
cells are compared without case and outer blanks. The grid may stand in a code fence. The verdict is right when every
cell is, and the score then 1.0. A grid that gives a label or a column twice has no score: it could list every
possibility.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any

from tasks.grading.scorers.boxed import final_part
from tasks.grading.scorers.code_blocks import code_blocks
from tasks.grading.scorers.size_limits import nested_too_deeply
from tasks.grading.verdicts import GradeRequest, Verdict

_MAX_GRID_LENGTH = 20_000
_FENCED = re.compile(r"(?P<fence>`{3,}|~{3,})[ \t]*\w*(?P<inside>.*?)(?P=fence)?", re.DOTALL)
Cells = dict[tuple[str, str], str]


def grade_fast(request: GradeRequest) -> Verdict:
    """Decides a grid answer."""
    true_grid = _read_grid(request.ground_truth)
    if true_grid is None or not _columns(true_grid)[1:]:
        return Verdict("unjudged", 0.0, None, "the gold answer is not a grid with a header and rows")
    label = _columns(true_grid)[0]
    expected = _cells(true_grid, label)
    if not expected:
        return Verdict("unjudged", 0.0, None, "the gold grid has no usable rows")
    answer = final_part(request.completion) or ""
    tagged = _last_tag(answer)
    text = _untagged(answer) if tagged is None else tagged
    if text is None:
        return Verdict("wrong", 0.0, None, "no <answer> tag")
    extracted = text[:200]
    grid = _read_grid(text)
    if grid is None:
        return Verdict("wrong", 0.0, extracted, "the answer is not a grid with a header and rows")
    cells = _cells(grid, label)
    if cells is None:
        return Verdict("wrong", 0.0, extracted, "a row or a column is missing its label or given twice")
    right = sum(cells.get(cell) == value for cell, value in expected.items())
    reason = f"{right} of {len(expected)} cells right"
    if right == len(expected):
        return Verdict("right", 1.0, extracted, reason, in_form=tagged is not None)
    return Verdict("wrong", right / len(expected), extracted, reason, in_form=tagged is not None)


def _untagged(answer: str) -> str | None:
    """Returns the grid of a completion without a tag: its last fenced block, else all of it where it is one object."""
    blocks = [block.text.strip() for block in code_blocks(answer) if block.text.strip()]
    text = blocks[-1] if blocks else answer.strip()
    return text if text.startswith("{") and text.endswith("}") else None


def _last_tag(answer: str) -> str | None:
    """Returns the text of the last closed `<answer>` tag, without a code fence around all of it."""
    end = answer.rfind("</answer>")
    start = answer.rfind("<answer>", 0, max(end, 0))
    if start < 0:
        return None
    text = answer[start + len("<answer>") : end].strip()
    fenced = _FENCED.fullmatch(text) if len(text) <= _MAX_GRID_LENGTH else None
    return fenced["inside"].strip() if fenced else text


def _read_grid(text: str) -> Mapping[str, Any] | None:
    """Reads {"header": [...], "rows": [[...], ...]} in JSON or Python spelling; None if the text is not that."""
    if len(text) > _MAX_GRID_LENGTH or nested_too_deeply(text):
        return None
    try:
        grid = json.loads(text)
    except (ValueError, RecursionError):
        try:
            grid = ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    if not isinstance(grid, dict) or not isinstance(grid.get("header"), list) or not isinstance(grid.get("rows"), list):
        return None
    return grid if all(isinstance(row, list) for row in grid["rows"]) else None


def _columns(grid: Mapping[str, Any]) -> list[str]:
    return [_plain(name) for name in grid["header"]]


def _cells(grid: Mapping[str, Any], label: str) -> Cells | None:
    """Returns {(row label, column): value} without the label column; None where labels are missing or repeated."""
    columns = _columns(grid)
    if label not in columns or len(set(columns)) != len(columns):
        return None
    label_index = columns.index(label)
    cells: Cells = {}
    seen: set[str] = set()
    for row in grid["rows"]:
        if len(row) != len(columns) or (row_label := _plain(row[label_index])) in seen:
            return None
        seen.add(row_label)
        cells.update({(row_label, name): _plain(value) for name, value in zip(columns, row, strict=True)})
    return {key: value for key, value in cells.items() if key[1] != label}


def _plain(value: object) -> str:
    return str(value).strip().casefold() if isinstance(value, (str, int, float)) else ""
