"""Reads a file of answers to grade: CSV, JSON lines or parquet with the columns `answer` and `gold`.

A third column, `data_source`, chooses the scorer row by row; without it one data source is given for the whole file.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tasks.grading.registry import scorer_for
from tasks.grading.verdicts import GradeRequest, ground_truth_text
from tasks.study.errors import InputError

_MAX_FIELD_BYTES = 1 << 27


def read_answers(path: Path, data_source: str) -> list[GradeRequest]:
    """Returns the answers of a file, in order.

    Args:
        path: a .csv, .jsonl or .parquet file.
        data_source: for rows that name none.

    Raises:
        InputError: the file, a row or a data source cannot be used.
    """
    readers = {".csv": _csv_rows, ".jsonl": _json_rows, ".parquet": _parquet_rows}
    if path.suffix not in readers:
        raise InputError(f"{path}: expected a .csv, .jsonl or .parquet file")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    requests = [_request(path, number, row, data_source) for number, row in readers[path.suffix](path)]
    if not requests:
        raise InputError(f"{path}: holds no rows; expected the columns answer and gold")
    return requests


def _request(path: Path, number: int, row: Mapping[str, Any], data_source: str) -> GradeRequest:
    for column in ("answer", "gold"):
        if row.get(column) is None:
            raise InputError(f"{path} row {number}: no value in column {column!r}; expected answer and gold")
    if not isinstance(row["answer"], (str, int, float)):
        raise InputError(f"{path} row {number}: expected text in column 'answer', not {type(row['answer']).__name__}")
    source = row.get("data_source") or data_source
    try:
        scorer_for(str(source))
        return GradeRequest(str(source), str(row["answer"]), ground_truth_text(row["gold"]))
    except InputError as error:
        raise InputError(f"{path} row {number}: {error}") from error


def _csv_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    csv.field_size_limit(_MAX_FIELD_BYTES)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            yield from enumerate(csv.DictReader(file), start=1)
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected CSV in UTF-8, but {error}") from error


def _json_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(f"{path} row {number}: expected one JSON object per line, but {error}") from error
            if not isinstance(row, dict):
                raise InputError(f"{path} row {number}: expected a JSON object, not {type(row).__name__}")
            yield number, row


def _parquet_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise InputError(f"{path}: expected a parquet file, but {error}") from error
    yield from enumerate(rows, start=1)
