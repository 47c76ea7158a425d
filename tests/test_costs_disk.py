"""Disk space of runs and studies, counted before a launch."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import REPOSITORY
from support.studies import make_train_params

from tasks.costs.disk import folder_bytes, require_disk, run_disk, study_disk
from tasks.study.errors import InputError
from tasks.study.grid import expand_grid
from tasks.study.params import load_params


def test_the_published_grid_needs_what_its_parameters_say() -> None:
    params = load_params(REPOSITORY / "params.paper.yaml")
    checkpoints = params.checkpoints.model_copy(update={"every": 5, "keep_last": 2, "keep_every": None})
    params = params.model_copy(update={"checkpoints": checkpoints})
    large = run_disk(params, next(run for run in expand_grid(params) if run.size == "72B"))
    assert (large.checkpoint, large.final) == (12 * 72e9, 2 * 72e9)
    assert (large.num_resumable, large.num_milestones) == (3, 0)
    assert (large.peak, large.kept) == (3 * large.checkpoint, large.final)
    study = study_disk(params, in_flight=1)
    assert study.kept == sum(disk.final for disk in study.runs.values())
    assert study.peak == study.kept + large.peak - large.kept
    kept = checkpoints.model_copy(update={"keep_every": 25})
    milestones = study_disk(params.model_copy(update={"checkpoints": kept}))
    assert milestones.kept == study.kept + 3 * sum(disk.checkpoint for disk in study.runs.values())


def test_short_runs_have_no_more_checkpoints_than_steps(tmp_path: Path) -> None:
    params = make_train_params(tmp_path, train={"steps": 3}, checkpoints={"every": 2, "keep_last": 4})
    disk = run_disk(params, expand_grid(params)[0])
    assert disk.num_resumable == 1
    assert disk.peak == max(disk.checkpoint, disk.final)


def test_too_little_space_is_refused_with_the_folder_and_the_numbers(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "file").write_bytes(b"x" * 1000)
    assert folder_bytes(tmp_path) == 1000
    free = shutil.disk_usage(tmp_path).free
    require_disk(tmp_path / "there", 1000 + free / 2, "run a")
    with pytest.raises(InputError, match=r"not/yet: run a needs [0-9.e+]+ GB more and [0-9.e+]+ GB are free"):
        require_disk(tmp_path / "not" / "yet", 4.0 * free, "run a")
