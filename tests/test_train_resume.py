"""A run is a folder: killed anywhere and started again it ends with the same bytes, done it is not done again."""

from __future__ import annotations

import itertools
import os
import random
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest
from support.studies import copy_study, numbers, study_to_train

from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import digest_file
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.train.launch import RunLauncher, train_once

TRAIN = {"steps": 12, "batch": 8, "group_size": 4, "minibatch": 4}
SOME_CHECKPOINTS = {"every": 4, "keep_last": 2}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Params:
    return study_to_train(tmp_path_factory.mktemp("source"))[0]


@pytest.fixture(scope="module")
def whole(source: Params, tmp_path_factory: pytest.TempPathFactory) -> tuple[Params, Run]:
    """The run, never interrupted."""
    return _trained(source, tmp_path_factory.mktemp("whole") / "study")


def _trained(source: Params, root: Path, seed: int = 0) -> tuple[Params, Run]:
    grid = {"sizes": ["3k"], "variants": ["base"], "seeds": [seed], "reuse": None, "group_size": None}
    params, _ = copy_study(source, root, train=TRAIN, checkpoints=SOME_CHECKPOINTS, grid=grid)
    run = expand_grid(params)[0]
    with RunLauncher(params) as launcher:
        train_once(params, run, launcher)
    return params, run


def _weights(params: Params, run: Run) -> str:
    return digest_file(StudyPaths.of(params).final(run) / "model.safetensors")


@pytest.mark.parametrize("draw", [1, 2])
def test_a_run_killed_at_a_random_step_goes_on_and_equals_the_uninterrupted_one(
    draw: int, source: Params, whole: tuple[Params, Run], tmp_path: Path
) -> None:
    params, run = copy_study(source, tmp_path / "study", train=TRAIN, checkpoints=SOME_CHECKPOINTS)
    fatal = random.Random(draw).randrange(1, TRAIN["steps"] - 1)
    with RunLauncher(params) as launcher:
        killer = threading.Thread(target=_kill_workers_after, args=(StudyPaths.of(params).metrics(run), fatal))
        killer.start()
        train_once(params, run, launcher)  # launched again, from the last checkpoint
        killer.join()
    assert numbers(params, run) == numbers(*whole)
    assert _weights(params, run) == _weights(*whole)


def _kill_workers_after(metrics: Path, rows: int) -> None:
    """Sends SIGKILL to this process's training workers once so many rows are on disk."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if metrics.exists() and metrics.read_text().count("\n") > rows:
            for child in psutil.Process().children(recursive=True):
                if "tasks.runtime.workers" in " ".join(child.cmdline()):
                    os.kill(child.pid, signal.SIGKILL)
            return
        time.sleep(0.005)


def test_two_runs_with_one_seed_are_equal_and_with_another_differ(
    source: Params, whole: tuple[Params, Run], tmp_path: Path
) -> None:
    again, other = _trained(source, tmp_path / "again"), _trained(source, tmp_path / "other", seed=1)
    assert numbers(*again) == numbers(*whole)
    assert _weights(*again) == _weights(*whole)
    assert _weights(*other) != _weights(*whole)


def test_a_finished_run_is_not_trained_again(whole: tuple[Params, Run]) -> None:
    params, run = whole
    before = StudyPaths.of(params).metrics(run).stat().st_mtime_ns
    with RunLauncher(params) as launcher:
        train_once(params, run, launcher)
    assert StudyPaths.of(params).metrics(run).stat().st_mtime_ns == before


def test_every_step_leaves_a_row_whose_counters_add_up(whole: tuple[Params, Run]) -> None:
    rows = numbers(*whole)
    assert [row["step"] for row in rows] == list(range(TRAIN["steps"] + 1))
    n_params = rows[1]["compute"] / 6 / rows[1]["tokens"]
    for before, row in itertools.pairwise(rows):
        assert row["data"] == before["data"] + TRAIN["batch"]
        assert row["tokens"] == before["tokens"] + row["prompt_tokens"] + row["completion_tokens"]
        assert row["compute"] == pytest.approx(6 * n_params * row["tokens"])
        assert row["flops_total"] == pytest.approx(before["flops_total"] + sum(row["flops"].values()))
        assert row["test_loss"] == pytest.approx(1 - row["test_right"] / row["test_trials"])
        assert row["mismatch_kl"] < 1e-6
