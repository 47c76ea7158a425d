"""Runs that are compared train in step; a dominated one is closed where it stands, and a killed stage ends the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support import REPOSITORY
from support.studies import copy_study, numbers, study_to_train

from flows.train import train
from tasks.fit.data.points import collect_points
from tasks.records.metrics import read_metrics
from tasks.records.run_state import run_state
from tasks.records.stopping import read_stopped
from tasks.runtime.tracking.run_record import read_record
from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import read_manifest
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.status import stage_done
from tasks.train.launch import RunLauncher, train_once

STOPPING = {"rule": "dominated", "chance": 0.45, "every": 0.25, "from": 0.5, "compare": ["seed"]}
CHANGES: dict[str, dict[str, Any]] = {
    "train": {"steps": 8, "batch": 8, "group_size": 4, "minibatch": 4, "stopping": STOPPING},
    "grid": {"sizes": ["3k"], "variants": ["base"], "seeds": [0, 1, 2], "reuse": None, "group_size": None},
    "tracking": {"enabled": False},
    "checkpoints": {"every": 3, "keep_last": 1},
}

pytestmark = pytest.mark.slow


def outcome(params: Params, run: Run) -> tuple[Any, ...]:
    manifest = read_manifest(StudyPaths.of(params).run(run)) or {}
    return manifest.get("content"), manifest.get("steps"), manifest.get("stopped"), numbers(params, run)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Params:
    return study_to_train(tmp_path_factory.mktemp("source"))[0]


@pytest.fixture(scope="module")
def stopped(source: Params, tmp_path_factory: pytest.TempPathFactory, prefect_api: None) -> Params:
    root = tmp_path_factory.mktemp("stopped") / "study"
    params, _ = copy_study(source, root, **CHANGES)
    train(root / "params.yaml")
    return params


def test_a_dominated_run_ends_early_with_its_reason_and_the_favorite_is_trained_to_its_end(stopped: Params) -> None:
    runs = expand_grid(stopped)
    records = {run: read_stopped(stopped, run) for run in runs}
    ended = [run for run in runs if records[run]]
    assert 1 <= len(ended) < len(runs)
    for run in ended:
        stop, manifest = records[run], read_manifest(StudyPaths.of(stopped).run(run))
        assert stop is not None
        assert manifest is not None
        assert manifest["steps"] == stop.step == read_metrics(StudyPaths.of(stopped).metrics(run))[-1].step < 8
        assert stop.step in (4, 6)
        assert stop.chance < STOPPING["chance"]
        assert stop.regret >= 0
        assert run_state(stopped, run).progress == "stopped by forecast"
        assert read_record(stopped, run).done
        assert read_record(stopped, run).stopped == stop.reason
        assert (StudyPaths.of(stopped).final(run) / "model.safetensors").is_file()
    whole = [run for run in runs if run not in ended]
    assert {run_state(stopped, run).progress for run in whole} == {"done"}
    assert {len(read_metrics(StudyPaths.of(stopped).metrics(run))) for run in whole} == {9}
    assert stage_done(stopped, "train")
    assert len(collect_points(stopped, runs, "1")) == sum(run_state(stopped, run).steps + 1 for run in runs)


def test_a_run_that_was_not_stopped_equals_the_same_run_without_the_rule(
    stopped: Params, source: Params, tmp_path: Path
) -> None:
    without = {name: dict(block) for name, block in CHANGES.items()}
    del without["train"]["stopping"]
    best = next(run for run in expand_grid(stopped) if read_stopped(stopped, run) is None)
    without["grid"]["seeds"] = [best.seed]
    params, run = copy_study(source, tmp_path / "study", **without)
    assert run.run_id != best.run_id
    with RunLauncher(params) as launcher:
        train_once(params, run, launcher)
    assert numbers(params, run) == numbers(stopped, best)


def test_a_stage_that_is_killed_and_continued_ends_the_same(
    stopped: Params, source: Params, tmp_path: Path, prefect_api: None
) -> None:
    params, _ = copy_study(source, tmp_path / "study", **CHANGES)
    file = tmp_path / "study" / "params.yaml"
    code = f"from pathlib import Path; from flows.train import train; train(Path({str(file)!r}))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, start_new_session=True)
    first = expand_grid(params)[0]
    deadline = time.monotonic() + 240
    while len(read_metrics(StudyPaths.of(params).metrics(first))) < 6:  # in the second segment, or stopped after one
        assert time.monotonic() < deadline
        if any(read_stopped(params, run) for run in expand_grid(params)):
            break
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not stage_done(params, "train")
    train(file)
    assert [outcome(params, run) for run in expand_grid(params)] == [
        outcome(stopped, run) for run in expand_grid(stopped)
    ]
