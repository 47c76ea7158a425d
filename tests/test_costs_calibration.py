"""Hours corrected by a user's own runs: this program's metrics and a verl log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.costs.calibration import calibrated
from tasks.costs.gpu_table import find_gpu
from tasks.costs.step_cost import Workload
from tasks.costs.step_time import Efficiency, step_seconds
from tasks.imports.step_times import timed_runs
from tasks.records.metrics import StepMetrics
from tasks.study.errors import InputError

H100 = find_gpu("h100")


def test_a_run_of_this_program_twice_as_slow_as_predicted_gives_factors_of_two(tmp_path: Path) -> None:
    work = Workload(64, 8, 500.0, eval_problems=0)
    expected = step_seconds(7e9, work, H100, Efficiency(), 4)
    update = 2 * sum(expected[phase] for phase in ("training", "old", "reference"))
    rows = [
        StepMetrics(
            step=step, tokens=step * 256_000, compute=6 * 7e9 * step * 256_000, kl=0.1, prompt_tokens=51_200,
            completion_tokens=204_800, completion_length=400.0,
            seconds={"rollout": 2 * expected["rollout"] + (step == 1) * 99, "update": update},
        )
        for step in (1, 2, 3)
    ]  # fmt: skip
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(row.line() for row in rows))
    efficiency, notes = calibrated(Efficiency(), H100, timed_runs([path], 4, None))
    assert efficiency.factors == pytest.approx(
        {"rollout": 2.0, "training": 2.0, "old": 2.0, "reference": 2.0}, rel=1e-3
    )
    assert len(notes) == 2
    with pytest.raises(InputError, match="give --calibrate-gpus"):
        timed_runs([path], None, None)


def test_a_verl_log_says_gpus_tokens_and_phases(tmp_path: Path) -> None:
    pairs = {
        "global_seqlen/mean": 1000.0, "prompt_length/mean": 100.0, "response_length/mean": 300.0,
        "response_length/max": 512.0, "timing_s/gen": 20.0, "timing_s/old_log_prob": 3.0, "timing_s/update_actor": 9.0,
        "perf/total_num_tokens": 8000.0,
    }  # fmt: skip
    line = " - ".join(["step:1", *(f"{key}:{value}" for key, value in pairs.items())])
    path = tmp_path / "qwen-7b.log"
    path.write_text(line + "\n")
    (run,) = timed_runs([path], None, None)
    assert (run.n, run.gpus, run.work.prompts, run.work.longest) == (7e9, 8, 20, 512.0)
    assert run.seconds == {("rollout",): 20.0, ("training",): 9.0, ("old",): 3.0}
    assert not run.work.reference


def test_a_log_without_seconds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "7b.jsonl"
    path.write_text(json.dumps({"step": 1, "test_loss": 0.5}) + "\n")
    with pytest.raises(InputError, match="no seconds by phase"):
        timed_runs([path], 1, None)
