"""The command line: quick, light, one sentence for bad input, and honest about what is done."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from support.recorded_study import forget_run, make_recorded_study, record_run

from flows.cli import main as cli
from flows.cli.overrides import write_overridden_params
from tasks.records.run_state import run_state
from tasks.study.errors import InputError
from tasks.study.grid import expand_grid
from tasks.study.manifests import write_manifest
from tasks.study.params import load_params

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "transformers", "vllm", "mlflow", "prefect", "dvc", "pyarrow", "pandas", "scipy", "numpy")


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


def run_cli(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    captured = capsys.readouterr()
    return int(end.value.code or 0), captured.out, captured.err


@pytest.mark.slow
def test_light_modules_import_nothing_heavy() -> None:
    modules = "tasks.study.params, tasks.study.grid, tasks.study.paths, tasks.study.manifests, tasks.study.errors"
    modules += ", tasks.study.fingerprints, tasks.study.status, tasks.records.metrics, tasks.records.findings"
    modules += ", tasks.runtime.tracking.run_record, tasks.runtime.tracking.publishing, tasks.runtime.prefect_options"
    modules += ", flows.cli.stage_runner"
    code = f"import sys, {modules}\nfrom flows.cli.main import build_app\nbuild_app()\n"
    answer = python(code + f"print([name for name in {HEAVY!r} if name in sys.modules])")
    assert answer.stdout.strip() == "[]", answer.stderr


@pytest.mark.slow
def test_training_imports_no_prefect() -> None:
    answer = python("import sys, tasks.train.loop, tasks.pretrain.tiny\nprint('prefect' in sys.modules)")
    assert answer.stdout.strip() == "False", answer.stderr


@pytest.mark.slow
def test_help_answers_within_a_second_of_processor_time() -> None:
    before = os.times()
    answer = python("import flows.cli.main; flows.cli.main.main(['--help'])")
    after = os.times()
    assert answer.returncode == 0
    assert "study" in answer.stdout
    used = after.children_user - before.children_user + after.children_system - before.children_system
    assert used < 1.0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train": {"group_size": 1}}, "group_size"),
        ({"train": {"minibatch": 7}}, "minibatch"),
        ({"train": {"stepz": 7}}, "train.stepz"),
        ({"grid": {"seeds": [0, 0]}}, "two runs have one id"),
        ({"grid": {"reuse": {"size": "3k", "seed": 0, "factors": [5]}}}, "5 does not divide"),
        ({"evaluate": {"temperature": "hot"}}, "evaluate.temperature"),
    ],
)
def test_bad_params_give_one_sentence_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, dict[str, object]], said: str
) -> None:
    raw = yaml.safe_load((ROOT / "params.small.yaml").read_text())
    for block, values in change.items():
        raw[block] |= values
    path = tmp_path / "bad.yaml"
    path.write_text(yaml.safe_dump(raw))
    code, out, err = run_cli(capsys, "study", "--dry-run", "--params", str(path))
    assert (code, out) == (2, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("arguments", [("study", "--nope"), ("nope",), ("status", "--params", "missing.yaml")])
def test_wrong_usage_ends_with_exit_code_2(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]) -> None:
    code, _, err = run_cli(capsys, *arguments)
    assert code == 2
    assert "Traceback" not in err


def test_a_stage_whose_input_is_missing_names_what_to_run_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy(ROOT / "params.small.yaml", path)
    code, _, err = run_cli(capsys, "train", "--params", str(path))
    assert code == 2
    assert "run `rlscale prepare` first" in err


def test_dry_run_lists_the_54_runs_of_the_miniature_with_their_cost(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run_cli(capsys, "study", "--dry-run", "--json", "--params", str(ROOT / "params.yaml"))
    planned = json.loads(out)
    runs = planned["runs"]
    assert code == 0
    assert planned["gpu_hours"] > 0
    assert len({run["run_id"] for run in runs}) == len(runs) == 54
    for run in runs:
        assert run["compute"] == 6.0 * run["n_params"] * run["tokens"] > 0
    assert [run["size"] for run in runs[:12:6]] == ["3k", "7k"]
    disk = json.loads(out)["disk"]
    assert 0 < disk["kept"] < disk["peak"] < disk["free"]


@pytest.mark.slow
def test_status_tells_done_running_stopped_and_waiting_runs_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    params = make_recorded_study(tmp_path)
    done, stopped, waiting, running, *_ = expand_grid(params)
    record_run(params, stopped, 2, done=False)
    (params.root / "train" / stopped.run_id / "manifest.json").unlink()
    forget_run(params, waiting)
    (params.root / "train" / running.run_id / "manifest.json").unlink()
    lock = params.root / "train" / running.run_id / ".lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
         "print(flush=True); sys.stdin.read()", str(lock)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert holder.stdout is not None
    holder.stdout.readline()
    try:
        states = [run_state(params, run).progress for run in (done, stopped, waiting, running)]
        assert states == ["done", "stopped", "waiting", "running"]
        active = run_state(params, running)
        assert active.step_seconds is not None
        assert active.seconds_left == pytest.approx((running.steps - active.steps) * active.step_seconds)
        assert run_state(params, stopped).seconds_left is None  # nobody works on it
    finally:
        holder.communicate()
    code, out, _ = run_cli(capsys, "status", "--json", "--params", str(tmp_path / "params.yaml"))
    shown = {entry["run"]["run_id"]: entry for entry in json.loads(out)["runs"]}
    assert code == 0
    assert (shown[stopped.run_id]["steps"], shown[stopped.run_id]["progress"]) == (2, "stopped")
    assert shown[done.run_id]["last"]["test_loss"] == pytest.approx(0.5)


def test_status_watch_ends_with_the_last_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_recorded_study(tmp_path)
    arguments = ("status", "--watch", "600", "--params", str(tmp_path / "params.yaml"))
    code, out, _ = run_cli(capsys, *arguments)
    assert code == 0
    assert out.count("stages: ") == 1
    code, _, err = run_cli(capsys, *arguments, "--json")
    assert (code, err) == (2, "rlscale: --watch: shows tables; take --json or --watch, not both\n")


def test_verify_finds_a_changed_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    params = make_recorded_study(tmp_path)
    arguments = ("verify", "--json", "--params", str(tmp_path / "params.yaml"))
    assert run_cli(capsys, *arguments)[0] == 0
    run = expand_grid(params)[0]
    path = params.root / "train" / run.run_id / "metrics.jsonl"
    path.write_text(path.read_text().replace("0.9", "0.8", 1))
    code, out, _ = run_cli(capsys, *arguments)
    assert code == 1
    assert json.loads(out)["damaged"] == {f"train/{run.run_id}": ["metrics.jsonl"]}


def test_doctor_names_what_a_params_file_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = yaml.safe_load((ROOT / "params.small.yaml").read_text())
    raw["prepare"]["source"] = {"kind": "file", "path": "nowhere.parquet"}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw))
    monkeypatch.chdir(tmp_path)
    code, out, _ = run_cli(capsys, "doctor", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["versions"]["torch"]
    assert found["params"] == {"params.yaml": ["problem file nowhere.parquet is not there"]}


def test_doctor_names_gpus_memory_and_disk_that_the_published_study_would_lack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine whose stand-in for nvidia-smi shows one GPU of 16 GiB that admits one process."""
    script = 'case "$1" in *compute_mode*) echo GPU-0001, Exclusive_Process;; *) echo GPU-0001, 16384;; esac'
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    raw = yaml.safe_load((ROOT / "params.paper.yaml").read_text())
    raw["grid"] |= {"sizes": ["7B"], "reuse": None, "group_size": None}
    raw["hardware"] |= {"executor": "local", "gpus_per_run": {"7B": 1}, "gpu_memory_gb": None}
    raw["study"]["data_root"] = "data"
    raw["pretrain"]["family"]["models"][3]["nominal"] = 7e15  # no disk holds its checkpoints
    (tmp_path / "paper.yaml").write_text(yaml.safe_dump(raw))
    code, out, _ = run_cli(capsys, "doctor", "--json", "--params", str(tmp_path / "paper.yaml"))
    (needs,) = json.loads(out)["params"].values()
    assert code == 1
    assert any(need.startswith("GPU GPU-0001 is in compute mode EXCLUSIVE_PROCESS") for need in needs)
    assert any(re.search(r"data/train: study paper needs [\d.e+]+ GB more and [\d.e+]+ GB are", need) for need in needs)
    assert any("does not hold the model's 14.2 GiB" in need for need in needs)


def test_set_makes_a_checked_params_file_in_the_data_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "params.small.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    before = load_params(tmp_path / "params.yaml")
    made = write_overridden_params(Path("params.yaml"), ["train.steps=12", "study.data_root=other"])
    assert made == Path("other/params.yaml")
    assert load_params(made).train.steps == 12
    assert load_params(made).root == tmp_path / "other"
    assert load_params(tmp_path / "params.yaml") == before != load_params(made)
    with pytest.raises(InputError, match="expected KEY=VALUE"):
        write_overridden_params(Path("params.yaml"), ["train.steps"])
    with pytest.raises(InputError, match="stepz"):
        write_overridden_params(Path("params.yaml"), ["train.stepz=3"])


def test_set_does_not_mix_a_study_into_finished_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "params.small.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    root = load_params(tmp_path / "params.yaml").root
    write_manifest(root / "train", "train", "0", [], {})
    with pytest.raises(
        InputError, match=r"finished work \(train\): add --set study.data_root=FOLDER .* or edit params.yaml"
    ):
        write_overridden_params(Path("params.yaml"), ["train.steps=12"])
    assert not (root / "params.yaml").exists()
    assert load_params(write_overridden_params(Path("params.yaml"), ["hardware.workers=1"])).hardware.workers == 1
    own = ["train.steps=12", "study.data_root=other"]
    made = write_overridden_params(Path("params.yaml"), own)
    write_manifest(tmp_path / "other" / "train", "train", "0", [], {})
    assert write_overridden_params(Path("params.yaml"), own) == made, "the same study goes on"


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_unwinds_the_command_and_gives_its_exit_code(number: signal.Signals, code: int) -> None:
    program = (
        "import signal, sys, time, typer\nimport flows.cli.main as cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def build():\n    app = typer.Typer()\n    @app.command()\n    def wait() -> None:\n"
        "        try:\n            print('ready', flush=True); time.sleep(60)\n"
        "        finally:\n            print('cleaned', flush=True)\n    return app\n"
        "cli.build_app = build\ncli.main([])\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "cleaned\n")
    assert "the next run continues" in err
    assert time.monotonic() - began < 20
