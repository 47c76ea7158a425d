"""`rlscale fit`, `forecast` and `plan` as a user meets them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from support.fit_examples import SIZES, pivot_points
from typer.testing import CliRunner

from flows.cli.main import build_app
from tasks.study.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def app() -> typer.Typer:
    return build_app()


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    points = pivot_points(noise=0.006, steps=30, seed=1)
    lines = ["variant,n_params,run,step,data,test_loss"]
    lines += [
        f"base,{n:g},{points.runs[run]},{step},{x:g},{loss:.5f}"
        for n, run, step, x, loss in zip(points.n, points.run, points.step, points.resource, points.loss, strict=True)
    ]
    path = tmp_path_factory.mktemp("table") / "points.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def run(app: typer.Typer, *arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_fit_prints_coefficients_rivals_and_held_out_error(app: typer.Typer, table: Path) -> None:
    text = run(app, "fit", table, "--draws", 200)
    for word in (
        "Kmax",
        "N0",
        "95 % interval",
        "loglinear",
        "largest size held out",
        "k saturates",
        "one_run_per_size",
    ):
        assert word in text, word


def test_fit_as_json_holds_the_same_numbers(app: typer.Typer, table: Path) -> None:
    (row,) = json.loads(run(app, "fit", table, "--draws", 200, "--json"))
    assert row["fit"]["coefficients"]["Kmax"]["value"] == pytest.approx(0.14, rel=0.1)
    assert len(row["fit"]["by_size"]) == len(SIZES)
    assert row["held_out"]["law"] == row["choice"]["chosen"]
    assert row["windows"]
    assert {test["kind"] for test in row["ahead"]} == {"last_50", "last_75"}


def test_fit_by_another_law_and_objective_records_both(app: typer.Typer, table: Path) -> None:
    (row,) = json.loads(run(app, "fit", table, "--law", "pivot", "--objective", "linear", "--draws", 100, "--json"))
    assert row["fit"]["law"] == "pivot"
    assert row["fit"]["options"]["objective"] == "linear"


def test_forecast_of_a_seen_size_uses_the_published_law(app: typer.Typer, table: Path) -> None:
    row = json.loads(run(app, "forecast", table, "--n", "72e9", "--x", "15360", "--json"))
    assert row["law"] == "saturating"
    assert row["low95"] < row["loss"] < row["high95"]
    assert len(row["warnings"]) == 1
    assert row["warnings"][0].startswith("law saturating: ")


def test_forecast_of_an_unseen_size_warns_and_names_the_factor(app: typer.Typer, table: Path) -> None:
    text = run(app, "forecast", table, "--n", "144e9", "--x", "30720")
    assert "factor 2 above the largest" in text


def test_forecast_options_of_unseen_sizes_are_checked_and_said(app: typer.Typer, table: Path) -> None:
    anchor = ["--initial-loss", 0.6, "--initial-answers", 500]
    text = run(app, "forecast", table, "--n", "144B", "--x", 15360, "--damping", 0.5, "--skip-steps", "auto", *anchor)
    assert "log N counts 0.5" in text
    assert "left out" in text
    for wrong, message in (
        (["--n", "144B", "--x", "inf"], "must be positive"),
        (["--n", "144B", "--x", 15360, "--initial-loss", 0.6], "together"),
        (["--n", "144B", "--x", 15360, "--initial-loss", 1.6, "--initial-answers", 500], r"loss in \(0, 1\]"),
        (["--n", 7e9, "--x", 15360, *anchor], "goes with a size"),
        (["--n", "144B", "--x", 15360, "--skip-steps", "some"], "number of steps or auto"),
        (["--n", "144B", "--x", 15360, "--skip-steps", 99], "no point is left, the last step is 30"),
        (["--run", "7e+09-0", "--law", "pivot"], "--law goes with --n"),
    ):
        with pytest.raises(InputError, match=message):
            CliRunner().invoke(app, ["forecast", str(table), *map(str, wrong)], catch_exceptions=False)


def test_forecast_of_a_run_takes_one_point_of_it(app: typer.Typer, table: Path, tmp_path: Path) -> None:
    header, *rows = table.read_text().splitlines()
    largest = f"base,{SIZES[-1]:g},"
    young = [row for row in rows if not row.startswith(largest) or row.split(",")[3] == "1"]
    path = tmp_path / "young.csv"
    path.write_text("\n".join([header, *young]) + "\n")
    assert "1 points so far" in run(app, "forecast", path, "--run", f"{SIZES[-1]:g}-0", "--x", 15360)


def test_forecast_of_a_run_gives_the_chance_of_a_target(app: typer.Typer, table: Path) -> None:
    row = json.loads(run(app, "forecast", table, "--run", "7e+09-0", "--target-loss", "0.7", "--json"))
    assert len(row["chance"]) == len(row["resource"]) == len(row["loss"])


def test_plan_prints_the_choice_the_axis_and_the_way_to_a_target(app: typer.Typer, table: Path) -> None:
    text = run(app, "plan", table, "--budget", "500gpu-h", "--target-loss", "0.6", "--problems", 3000)
    for word in ("P(best)", "best size by budget", "ways to the target loss", "3000 problems", "USD"):
        assert word in text, word


def test_plan_as_json_holds_law_setting_and_options(app: typer.Typer, table: Path) -> None:
    row = json.loads(run(app, "plan", table, "--budget", "30000usd", "--gpu", "h200", "--price", 4, "--json"))
    assert row["setting"]["gpu"]["usd_per_hour"] == 4
    assert row["law"] == "saturating"
    assert sum(option["chance_best"] for option in row["options"]) == pytest.approx(1.0)


def test_plan_of_a_grid_costs_every_run(app: typer.Typer) -> None:
    row = json.loads(run(app, "plan", "--grid", ROOT / "params.yaml", "--json"))
    assert len(row["runs"]) == 54
    assert row["usd"] == pytest.approx(sum(entry["cost"]["usd"] for entry in row["runs"]))


@pytest.mark.parametrize(
    "arguments",
    [
        ("fit", "{table}", "--draws", "100"),
        ("forecast", "{table}", "--n", "72e9", "--x", "15360"),
        ("forecast", "{table}", "--run", "7e+09-0"),
        ("plan", "{table}", "--budget", "500gpu-h"),
        ("plan", "--grid", str(ROOT / "params.yaml")),
    ],
)
def test_every_command_draws(app: typer.Typer, table: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    picture = tmp_path / "picture.svg"
    run(app, *(text.replace("{table}", str(table)) for text in arguments), "--plot", picture, "--json")
    assert picture.read_text().startswith("<?xml")


def test_reuse_and_benchmark_tables_are_recognized(app: typer.Typer, tmp_path: Path) -> None:
    reuse = tmp_path / "reuse.csv"
    lines = [
        f"base,{tau},{s},{(0.9 + 0.02 * (tau == 100)) * s**-0.1:.5f}" for tau in (1, 10, 100) for s in range(1, 41)
    ]
    reuse.write_text("variant,tau,step,test_loss\n" + "\n".join(lines) + "\n")
    found = json.loads(run(app, "fit", reuse, "--json", "--plot", tmp_path / "reuse.png"))
    assert found["reuse"]["base"][1]["ratio"]["value"] == pytest.approx(0.92 / 0.9, rel=1e-3)
    gains = tmp_path / "gains.csv"
    gains.write_text(
        "benchmark,params,rl_best_test_loss,pre_training_test_loss\nGSM8K,7e9,0.1,0.4\nGSM8K,8e9,0.1,0.3\n"
    )
    assert "0.40 -> 0.10" in run(app, "fit", gains, "--plot", tmp_path / "gains.pdf")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "none.csv"), "no such file"),
        (("fit", "{table}", "--law", "cubic"), "law 'cubic' is unknown"),
        (("fit", "{table}", "--objective", "binomial"), "--trials"),
        (("fit", "{table}", "--loss", "error"), "no column 'error'"),
        (("forecast", "{table}", "--n", "7e9"), "give --n and --x"),
        (("forecast", "{table}", "--n", "1e11", "--x", "1e4", "--law", "saturating"), "free level"),
        (("forecast", "{table}", "--n", "-1", "--x", "1e4", "--law", "pivot"), "must be positive"),
        (("forecast", "{table}", "--variant", "chat", "--n", "7e9", "--x", "1"), "no group 'chat'"),
        (("plan", "{table}"), "give --budget"),
        (("plan", "{table}", "--budget", "9"), "--budget '9'"),
        (("plan", "{table}", "--budget", "9usd", "--gpu", "abacus"), "no GPU 'abacus'"),
        (("plan", "{table}", "--budget", "99usd", "--sizes", "big"), "--sizes 'big'"),
        (("fit", "{table}", "--draws", "100", "--plot", "picture.gif"), "expected a name ending in"),
    ],
)
def test_bad_use_is_refused_in_one_sentence(
    app: typer.Typer, table: Path, arguments: tuple[str, ...], message: str
) -> None:
    filled = [text.replace("{table}", str(table)) for text in arguments]
    with pytest.raises(InputError, match=message) as refused:
        CliRunner().invoke(app, filled, catch_exceptions=False)
    assert "\n" not in str(refused.value)


@pytest.mark.slow
def test_fit_of_a_table_imports_neither_torch_nor_anything_slow(table: Path) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from flows.cli.main import build_app; "
        f"r = CliRunner().invoke(build_app(), ['fit', {str(table)!r}, '--draws', '100', '--json']); "
        "assert r.exit_code == 0, r.output; "
        "heavy = ('torch', 'scipy', 'pandas', 'prefect', 'mlflow', 'matplotlib', 'pyarrow'); "
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
