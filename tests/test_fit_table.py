"""Reading tables: what is recognised, and what is refused with row and column."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.fit.data.columns import Columns, resolve
from tasks.fit.data.groups import PROTOCOL, groups_of, reuse_groups
from tasks.fit.data.measurements import Measurements
from tasks.fit.data.points import COLUMNS, EvaluationProtocol
from tasks.fit.data.table import read_table
from tasks.fit.validation.benchmark_gain import gains
from tasks.study.errors import InputError

HEADER = "variant,model,params,step,compute_flops,test_loss,run"


def rows(sizes: tuple[str, ...] = ("1e9", "2e9"), steps: int = 3) -> list[str]:
    return [f"base,m,{n},{s},{s}e17,{0.9 - 0.1 * s:.2f},r{n}" for n in sizes for s in range(1, steps + 1)]


def write(folder: Path, lines: list[str], header: str = HEADER) -> Path:
    path = folder / "points.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def load(path: Path, columns: Columns | None = None, allow_mixed: bool = False) -> dict[str, Measurements]:
    table = read_table(path)
    return groups_of(table, resolve(table, columns or Columns())[0], allow_mixed)


def test_published_columns_are_recognized(tmp_path: Path) -> None:
    ((name, points),) = load(write(tmp_path, rows())).items()
    assert name == "base"
    assert points.unit == "compute_flops"
    assert points.runs == ("r1e9", "r2e9")
    assert len(points) == 6


def test_named_columns_override_the_recognized_ones(tmp_path: Path) -> None:
    lines = [f"{n},{x},{0.5 - 0.01 * x},{x * 7}" for n in (3000, 4000) for x in (1, 2, 3)]
    path = write(tmp_path, lines, "weights,budget,error,other")
    (points,) = load(path, Columns(n="weights", x="budget", loss="error")).values()
    assert points.unit == "budget"
    assert points.sizes.tolist() == [3000, 4000]


def test_both_resources_of_the_studys_points_are_found(tmp_path: Path) -> None:
    lines = [f"{n},{s},{s}e5,{s * 64},0.{9 - s}" for n in (10, 20) for s in (1, 2, 3)]
    table = read_table(write(tmp_path, lines, "n_params,step,compute,data,test_loss"))
    assert [columns.x for columns in resolve(table, Columns())] == ["compute", "data"]


def test_parquet_is_read_like_csv(tmp_path: Path) -> None:
    path = tmp_path / "points.parquet"
    columns = {"n": [1e3] * 3 + [2e3] * 3, "x": [1.0, 2, 3] * 2, "loss": [0.9, 0.8, 0.7] * 2}
    pq.write_table(pa.table(columns), path)
    (points,) = load(path).values()
    assert len(points) == 6


def test_step_zero_and_other_axes_are_left_out(tmp_path: Path) -> None:
    header = "n_params,step,data,test_loss,tau,group_size,run_id"
    lines = [f"{n},{s},{s * 64},0.{9 - s},1,8,a{n}" for n in (1000, 2000) for s in (0, 1, 2, 3)]
    lines += [f"1000,{s},{s * 64},0.5,100,8,b" for s in (1, 2, 3)] + [
        f"1000,{s},{s * 64},0.5,1,32,c" for s in (1, 2, 3)
    ]
    (points,) = load(write(tmp_path, lines, header)).values()
    assert len(points) == 6
    assert points.runs == ("a1000", "a2000")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("base,m,1e9,9,9e17,1.2,r", "line 8, column test_loss: expected a loss in \\(0, 1\\], found 1.2"),
        ("base,m,1e9,9,9e17,0,r", "line 8, column test_loss: expected a loss"),
        ("base,m,0,9,9e17,0.5,r", "line 8, column params: expected a positive number, found 0"),
        ("base,m,1e9,9,-1,0.5,r", "line 8, column compute_flops: expected a positive number, found -1"),
        ("base,m,1e9,9,many,0.5,r", "line 8, column compute_flops: expected a number, found 'many'"),
        (
            "base,m,3e9,9,9e17,0.5,r",
            "size 3B in column params of group base has 1 points, expected at least 3; --without 3B",
        ),
        ("base,m,1e9,9", "line 8 has 4 fields, expected 7"),
    ],
)
def test_bad_row_is_refused_with_line_and_column(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load(write(tmp_path, [*rows(), line]))


def test_missing_column_is_refused_with_those_found(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no column 'accuracy' \\(--loss\\), found variant"):
        load(write(tmp_path, rows()), Columns(loss="accuracy"))
    with pytest.raises(
        InputError, match=r"no column for the test loss .*\(--loss\); recognized are test_loss, .*; found n, x"
    ):
        load(write(tmp_path, ["1,2"], "n,x"))


def test_runs_of_different_protocols_are_pooled_only_when_asked(tmp_path: Path) -> None:
    lines = [f"{n},{s},{s * 64},0.{9 - s},r{n},{512 if n == 1000 else 128}" for n in (1000, 2000) for s in (1, 2, 3)]
    path = write(tmp_path, lines, "n_params,step,data,test_loss,run_id,batch")
    with pytest.raises(InputError, match=r"column batch differs within all \(128, 512\).*--allow-mixed"):
        load(path)
    assert len(load(path, allow_mixed=True)["all"]) == 6


def test_protocol_columns_are_those_of_the_studys_points() -> None:
    assert tuple(field.name for field in dataclasses.fields(EvaluationProtocol)) == PROTOCOL
    assert set(PROTOCOL) <= set(COLUMNS)


@pytest.mark.parametrize(
    ("text", "message"), [("", "empty; expected a header"), ("a,b\n", "no rows"), ("a,a\n1,2\n", "names 'a' twice")]
)
def test_file_without_points_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "empty.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_table(path)


def test_file_that_is_not_there_or_not_parquet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "bad.parquet").write_text("not parquet")
    with pytest.raises(InputError, match="not a parquet file"):
        read_table(tmp_path / "bad.parquet")


def test_reuse_table_has_tau_in_place_of_size(tmp_path: Path) -> None:
    lines = [f"base,{tau},{s},0.{9 - s}" for tau in (1, 10) for s in (1, 2, 3)]
    table = read_table(write(tmp_path, lines, "variant,tau,step,test_loss"))
    assert table.kind == "reuse"
    points = reuse_groups(table)["base"]
    assert points.sizes.tolist() == [1, 10]
    assert points.label(10.0) == "tau 10"


def test_gain_is_the_share_of_the_error_that_is_gone(tmp_path: Path) -> None:
    header = "variant,benchmark,model,params,rl_best_test_loss,pre_training_test_loss"
    lines = ["base,GSM8K,7B,7e9,0.1,0.4", "base,GSM8K,14B,14e9,0.1,0.2", "base,Zebra,7B,7e9,0.9,0.8"]
    found, trends = gains(read_table(write(tmp_path, lines, header)))
    assert found[0].absolute == pytest.approx(0.3)
    assert found[0].relative == pytest.approx(0.75)
    assert [(trend.benchmark, trend.in_domain) for trend in trends] == [("GSM8K", True), ("Zebra", False)]
    assert trends[0].slope_per_decade == pytest.approx(-0.2 / 0.30103, rel=1e-4)
    assert trends[1].sizes_that_lose == 1
