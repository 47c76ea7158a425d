"""Every example runs and shows what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.study.grid import expand_grid
from tasks.study.params import load_params

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
EXPECTED = {
    "plan_a_budget.sh": (
        "Kmax",
        "loss of N = 72B",
        "what 2000 gpu-h buys",
        "54000 problems are enough",
        "72B 1030 GPU-h",
    ),
    "add_a_law.py": ("732 points, 7 sizes", "saturating  RMSE", "log_k       RMSE", "k(1B) ="),
    "add_a_scorer.py": ("right     1  yes", "wrong     0  yes", "neither yes nor no", "unjudged", "3000007 characters"),
}


def test_every_example_is_run_here() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".sh")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_runs_from_any_folder_and_leaves_nothing(name: str, tmp_path: Path) -> None:
    command = [sys.executable] if name.endswith(".py") else []
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*command, str(EXAMPLES / name)],
        cwd=tmp_path,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(EXAMPLES.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for text in EXPECTED[name]:
        assert text in done.stdout, done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_questions_of_the_smollm_study_are_what_their_script_writes() -> None:
    folder = EXAMPLES / "smollm"
    command = [sys.executable, str(folder / "make_problems.py"), "2025", "400"]
    written = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert written == (folder / "problems.jsonl").read_text()
    params = load_params(EXAMPLES.parent / "params.smollm.yaml")
    assert [(run.tau, run.seed) for run in expand_grid(params)] == [(1, 0), (1, 1), (4, 0)]
