"""What the command line says about itself, and how it reads sizes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from support.recorded_study import make_recorded_study

from flows.cli import main as cli
from flows.cli.column_options import parse_size
from tasks.costs.units import parse_count, short_count
from tasks.fit.data.columns import Columns, resolve
from tasks.fit.data.groups import groups_of
from tasks.fit.data.table import read_table
from tasks.study.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
COMPUTE = ROOT / "tests" / "data" / "published" / "base_compute.csv"


def run_cli(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


def test_version_is_that_of_pyproject(capsys: pytest.CaptureFixture[str]) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert run_cli(capsys, "--version") == (0, f"rlscale {version}\n", "")


@pytest.mark.slow
def test_the_shell_is_told_which_commands_begin_so() -> None:
    environment = os.environ | {"_RLSCALE_COMPLETE": "complete_bash", "COMP_WORDS": "rlscale p", "COMP_CWORD": "1"}
    code = "import sys; sys.argv[0] = 'rlscale'; from flows.cli.main import main; main()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert set(done.stdout.split()) == {"prepare", "pretrain", "plan"}, done.stderr


@pytest.mark.parametrize(
    ("text", "value"),
    [("7B", 7e9), ("72B", 72e9), ("394k", 394e3), ("0.5b", 5e8), ("1.5M", 1.5e6), ("2T", 2e12), ("7e9", 7e9),
     ("56000", 56e3), (" 3K ", 3e3), ("1.1B", 1.1e9)],
)  # fmt: skip
def test_sizes_are_read_with_and_without_a_letter(text: str, value: float) -> None:
    assert parse_count(text) == value == parse_size(text, "--n")
    assert parse_count(short_count(value)) == value


@pytest.mark.parametrize("text", ["", "B", "7X", "7 GB", "big", "nan", "inf", "-7B", "0", "1e3k", "7,5B"])
def test_what_is_no_size_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(InputError, match="expected a number, which must be positive") as refused:
        parse_size(text, "--n")
    assert str(refused.value).startswith(f"--n {text!r}: ")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "arguments",
    [
        ("forecast", "{file}", "--n", "seven", "--x", "1e21"),
        ("forecast", "{file}", "--n", "7B", "--x", "lots"),
        ("plan", "{file}", "--budget", "9usd", "--sizes", "7B,x"),
        ("plan", "{file}", "--budget", "99gpu-h", "--problems", "-54k"),
    ],
)
def test_every_command_refuses_a_bad_size_with_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    code, out, err = run_cli(capsys, *(text.format(file=COMPUTE) for text in arguments))
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert f"rlscale: {arguments[-2] if 'seven' not in arguments else '--n'} " in err


def test_a_size_with_a_letter_gives_the_same_forecast(capsys: pytest.CaptureFixture[str]) -> None:
    short = run_cli(capsys, "forecast", str(COMPUTE), "--n", "72B", "--x", "1e21", "--draws", "100", "--json")
    long = run_cli(capsys, "forecast", str(COMPUTE), "--n", "72e9", "--x", "1e21", "--draws", "100", "--json")
    assert short == long
    assert json.loads(short[1])["n"] == 72e9


def test_a_plan_takes_sizes_and_problems_with_letters(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("plan", str(COMPUTE), "--budget", "99gpu-h", "--sizes", "0.5b,7B", "--problems", "54k", "--json")
    code, out, _ = run_cli(capsys, *arguments)
    plan = json.loads(out)
    assert code == 0
    assert {option["n"] for option in plan["options"]} == {0.5e9, 7e9}
    assert plan["reuse"]["problems"] == 54_000


def test_a_tables_sizes_may_have_letters(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    lines = [f"{n},{x},{0.9 - 0.1 * x}" for n in ("394k", "7B") for x in (1, 2, 3)]
    path.write_text("params,compute,loss\n" + "\n".join(lines) + "\n")
    table = read_table(path)
    points = groups_of(table, resolve(table, Columns())[0])["all"]
    assert points.sizes.tolist() == [394e3, 7e9]


def test_doctor_looks_at_one_params_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = yaml.safe_load((ROOT / "params.small.yaml").read_text())
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    raw["prepare"]["source"] = {"kind": "file", "path": "nowhere.parquet"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw))
    monkeypatch.chdir(tmp_path)
    code, out, _ = run_cli(capsys, "doctor", "--params", "mine.yaml", "--json")
    assert code == 1
    assert json.loads(out)["params"] == {"mine.yaml": ["problem file nowhere.parquet is not there"]}
    assert run_cli(capsys, "doctor", "--params", "params.yaml")[0] == 0
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")  # nobody listens there any more
    code, out, _ = run_cli(capsys, "doctor", "--params", "params.yaml", "--json")
    (need,) = json.loads(out)["params"]["params.yaml"]
    assert code == 1
    assert need.startswith(f"tracking.uri: http://127.0.0.1:{port} does not answer")
    assert run_cli(capsys, "doctor", "--params", "none.yaml") == (2, "", "rlscale: none.yaml: no such params file\n")


@pytest.mark.parametrize("changes", [(), ("--set", "train.steps=2", "--set", "study.data_root=elsewhere")])
def test_a_dry_run_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, changes: tuple[str, ...]
) -> None:
    make_recorded_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    code, out, _ = run_cli(capsys, "study", "--dry-run", "--json", *changes)
    assert code == 0
    states = {run["state"] for run in json.loads(out)["runs"]}
    assert states == ({"waiting"} if changes else {"done"})
    assert tree(tmp_path) == before


def test_a_change_that_makes_no_study_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "params.yaml").write_text((ROOT / "params.small.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    code, _, err = run_cli(capsys, "study", "--set", "train.steps=many")
    assert code == 2
    assert "train.steps" in err
    assert tree(tmp_path) == before


def tree(folder: Path) -> dict[str, tuple[bytes | None, int]]:
    """Every file and folder with its bytes and its time of change."""
    return {
        str(path.relative_to(folder)): (path.read_bytes() if path.is_file() else None, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
    } | {".": (None, folder.stat().st_mtime_ns)}
