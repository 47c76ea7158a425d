"""Records come back from their files as they were written; a damaged file is named by file and key."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.report_study import make_finished_study

from tasks.records.findings import FindingsFile
from tasks.records.fits import BackTestsFile, DrawColumns, FitsFile, ForecastsFile, PointColumns
from tasks.records.json_files import JsonFile, from_json, to_json
from tasks.study.errors import InputError
from tasks.study.paths import StudyPaths

JSON_FILES = (FitsFile, BackTestsFile, ForecastsFile, FindingsFile)
GRID = {"sizes": ["3k", "7k", "25k", "99k"], "seeds": [0, 1], "reuse": {"size": "25k", "seed": 0, "factors": [2, 100]}}


@dataclass(frozen=True)
class Point:
    x: float
    label: str | None = None


@dataclass(frozen=True)
class PointsFile(JsonFile):
    NAME: ClassVar[str] = "points.json"
    points: list[Point]
    by_name: dict[str, Point]
    count: int
    done: bool


RECORD = PointsFile([Point(1.5, "a"), Point(2.0)], {"b": Point(-1.0)}, 2, True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("records")
    return StudyPaths.of(make_finished_study(root, GRID, steps=20, draws=40)).stage("fit")


@pytest.mark.parametrize("kind", JSON_FILES)
def test_files_of_a_fit_are_written_again_with_equal_bytes(folder: Path, tmp_path: Path, kind: type[JsonFile]) -> None:
    record = kind.read(folder)
    record.write(tmp_path)
    assert (tmp_path / kind.NAME).read_bytes() == (folder / kind.NAME).read_bytes()
    assert kind.read(tmp_path) == record
    assert all(getattr(record, name) for name in vars(record))


def test_columns_of_a_fit_have_one_entry_per_row(folder: Path) -> None:
    points, draws = PointColumns.read(folder), DrawColumns.read(folder)
    assert {len(column) for column in vars(points).values()} == {pq.read_metadata(folder / PointColumns.NAME).num_rows}
    assert {len(column) for column in vars(draws).values()} == {pq.read_metadata(folder / DrawColumns.NAME).num_rows}
    assert set(points.variant) == {"base", "instruct"}
    assert "Kmax" in draws.name


def test_record_comes_back_as_it_was_written(tmp_path: Path) -> None:
    RECORD.write(tmp_path)
    assert PointsFile.read(tmp_path) == RECORD


def test_number_that_does_not_exist_is_null_and_reads_as_nan_or_none() -> None:
    assert to_json(Point(math.inf)) == {"x": None, "label": None}
    point = from_json({"x": None, "label": None}, Point)
    assert math.isnan(point.x)
    assert point.label is None


def test_numpy_numbers_become_plain_ones() -> None:
    assert json.dumps(to_json({"n": np.int64(3), "x": np.float64(0.5), "nan": np.float32("nan")})) == (
        '{"n": 3, "x": 0.5, "nan": null}'
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": [{"x": 1.0, "label": None}, {"label": None}]}, r"key points\[1\].x is missing"),
        ({"points": [{"x": 1.0, "label": None, "y": 2}]}, r"key points\[0\].y is unknown, expected x, label"),
        ({"points": [{"x": "1", "label": None}]}, r'key points\[0\].x: expected a number or null, found "1"'),
        ({"points": [{"x": True, "label": None}]}, r"key points\[0\].x: expected a number or null, found true"),
        ({"points": {}}, "key points: expected a list"),
        ({"by_name": {"b": 1}}, "key by_name.b: expected an object, found 1"),
        ({"count": 1.5}, "key count: expected a whole number, found 1.5"),
        ({"count": None}, "key count: expected a whole number, found null"),
        ({"done": 1}, "key done: expected true or false, found 1"),
    ],
)
def test_damaged_file_is_named_with_its_key(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / PointsFile.NAME).write_text(json.dumps(to_json(RECORD) | change))
    with pytest.raises(InputError, match=rf"points\.json: {message}"):
        PointsFile.read(tmp_path)


@pytest.mark.parametrize(("text", "message"), [("{", "not JSON"), ("[]", r"expected an object, found \[\]")])
def test_file_of_another_kind_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / PointsFile.NAME).write_text(text)
    with pytest.raises(InputError, match=rf"points\.json: {message}"):
        PointsFile.read(tmp_path)


def test_missing_files_are_named_with_the_command_that_writes_them(tmp_path: Path) -> None:
    for kind in (FitsFile, DrawColumns):
        with pytest.raises(InputError, match=rf"{kind.NAME}: no such file; run `rlscale fit` first"):
            kind.read(tmp_path / "fit")


def test_parquet_file_without_a_column_is_refused_by_name(tmp_path: Path) -> None:
    pq.write_table(pa.table({"variant": ["base"]}), tmp_path / DrawColumns.NAME)
    with pytest.raises(InputError, match=r"bootstrap\.parquet: no column resource, found variant"):
        DrawColumns.read(tmp_path)
    (tmp_path / DrawColumns.NAME).write_text("no parquet")
    with pytest.raises(InputError, match=r"bootstrap\.parquet: not a parquet file"):
        DrawColumns.read(tmp_path)
