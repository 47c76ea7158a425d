"""Studies and tables side by side: differences with intervals, what is marked, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.report_study import make_finished_study

from flows.cli.main import main
from tasks.fit.comparison import Source, compare
from tasks.fit.data.columns import Columns, resolve
from tasks.fit.data.groups import groups_of
from tasks.fit.data.table import read_table
from tasks.fit.solver.estimate import Options
from tasks.study.errors import InputError

SIZES = (1e8, 1e9, 1e10)


def write_table(
    path: Path, seed: int, steeper: float = 0.0, extra: str = "", names: str = "run,params,compute,loss"
) -> Path:
    """Three runs of three sizes along log L = -(k(N) + steeper) log X + E, with scatter between runs and points."""
    rng, rows = np.random.default_rng(seed), []
    for size in SIZES:
        k = 0.3 / (1 + 1e9 / size) + steeper
        for run in range(3):
            level = rng.normal(0, 0.01)
            for x in np.geomspace(1e18, 1e20, 12):
                loss = 10 ** (-k * np.log10(x / 1e18) - 0.1 + level + rng.normal(0, 0.004))
                rows.append(f"{size:g}-{run},{size:g},{x:g},{loss:.6f}{extra and ',' + extra.split('=')[1]}")
    header = names + (extra and "," + extra.split("=")[0])
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def source(path: Path) -> Source:
    table = read_table(path)
    return Source(path.stem, table, {"compute": groups_of(table, resolve(table, Columns())[0])})


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["compare", *map(str, arguments)])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


def test_a_difference_is_found_and_none_is_found_between_two_draws_of_one_truth(tmp_path: Path) -> None:
    first = source(write_table(tmp_path / "first.csv", 0))
    again = source(write_table(tmp_path / "again.csv", 1))
    steeper = source(write_table(tmp_path / "steeper.csv", 2, steeper=0.08))
    (found,) = compare([first, again, steeper], "loglinear", Options(draws=500))
    assert found.x == pytest.approx(1e20)
    of = {(row.source, row.quantity): row for row in found.differences}
    for size in ("100M", "1B", "10B"):
        same, other = of["again", f"k of {size}"], of["steeper", f"k of {size}"]
        assert not same.clear
        assert other.clear
        low, high = other.difference.low, other.difference.high
        assert low is not None
        assert high is not None
        assert low < 0.08 < high
        assert other.difference.value == pytest.approx(other.value - other.first)


def test_the_two_sides_draw_independently(tmp_path: Path) -> None:
    one, two = source(write_table(tmp_path / "one.csv", 0)), source(write_table(tmp_path / "two.csv", 0))
    (found,) = compare([one, two], "loglinear", Options(draws=2000))
    widths = [side.k["1B"] for side in found.sides]
    own = [width.high - width.low for width in widths if width.high is not None and width.low is not None]
    row = next(row.difference for row in found.differences if row.quantity == "k of 1B")
    assert row.value == 0.0
    assert row.high is not None
    assert row.low is not None
    assert row.high - row.low == pytest.approx(np.hypot(*own), rel=0.15)


def test_another_protocol_is_marked_or_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_table(tmp_path / "first.csv", 0, extra="eval_temperature=0.7")
    second = write_table(tmp_path / "second.csv", 1, extra="eval_temperature=1.0")
    code, out, _ = run(capsys, first, second, "--draws", 200)
    assert code == 0
    assert f"eval_temperature differs ({first}: 0.7, {second}: 1.0)" in out.replace("\n", " ")
    code, _, err = run(capsys, first, second, "--same-protocol")
    assert code == 2
    assert "eval_temperature differs" in err


def test_what_cannot_be_compared_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_table(tmp_path / "first.csv", 0)
    other = write_table(tmp_path / "other.csv", 0, names="run,params,prompts,loss")
    groups = tmp_path / "groups.csv"
    lines = first.read_text().splitlines()
    groups.write_text("\n".join([f"variant,{lines[0]}", *(f"{v},{line}" for v in "ab" for line in lines[1:])]) + "\n")
    for arguments, words in (
        ([first], "give two or more"),
        ([first, first], "is given twice"),
        ([first, other], f"no resource in common ({first}: compute; {other}: prompts)"),
        ([groups, first], f"no group in common ({groups}: a, b; {first}: all)"),
        ([first, tmp_path / "none.csv"], "no such file"),
    ):
        code, _, err = run(capsys, *arguments)
        assert code == 2
        assert words in err


@pytest.mark.slow
def test_studies_are_compared_by_their_data_roots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = {"sizes": ["3k", "7k", "25k"], "seeds": [0, 1], "reuse": None}
    first = make_finished_study(tmp_path, grid, steps=8, draws=100).root
    second = tmp_path / "second"
    shutil.copytree(first, second)
    for path in (second / "train").glob("*/params.json"):
        stored = json.loads(path.read_text())
        stored["train"]["learning_rate"] = 2e-3
        path.write_text(json.dumps(stored))
    roots = [first, second]
    code, out, _ = run(capsys, *roots, "--json", "--draws", 200)
    assert code == 0
    answer = json.loads(out)
    assert {(entry["group"], entry["resource"]) for entry in answer["comparisons"]} == {
        (variant, resource) for variant in ("base", "instruct") for resource in ("compute", "data")
    }
    assert [row[0] for row in answer["params"]] == ["train.learning_rate"]
    assert not answer["marks"]
    (roots[0] / "fit" / "points.parquet").unlink()
    code, _, err = run(capsys, *roots)
    assert code == 2
    assert "has no points.parquet yet" in err


def test_one_source_is_not_enough(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="two or more"):
        compare([source(write_table(tmp_path / "first.csv", 0))], "loglinear", Options(draws=100))
