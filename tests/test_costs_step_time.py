"""Seconds of a step: against arithmetic by hand, and against public runs kept apart."""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.costs.gpu_table import find_gpu
from tasks.costs.step_cost import Workload
from tasks.costs.step_time import FIXED_SECONDS, Efficiency, step_seconds

ROOT = Path(__file__).resolve().parents[1]
H100 = find_gpu("h100")
WORK = Workload(prompts=512, completions=8, tokens=1000.0)


def test_large_updates_take_their_flops_at_the_share_of_peak() -> None:
    work = Workload(prompts=4096, completions=64, tokens=1000.0, eval_problems=0)
    seconds = step_seconds(7.6e9, work, H100, Efficiency(), 1)
    # 6 N T = 1.195e19 FLOPs at 0.37 x 989e12: 32,667 s; attention adds 4 A W, W = 28 layers x 28 heads x 128: 4.7 %.
    plain = 6 * 7.6e9 * work.step_tokens / (0.37 * 989e12)
    assert seconds["training"] / plain == pytest.approx(1 + 2 * 0.5 * 1000 * 28 * 28 * 128 / 7.6e9, rel=1e-2)
    assert seconds["old"] == pytest.approx((seconds["training"] - FIXED_SECONDS["training"]) / 3, rel=1e-3)


def test_a_lone_completion_is_decoded_at_the_speed_of_the_weights() -> None:
    work = Workload(prompts=1, completions=1, tokens=1000.0, eval_problems=0, longest=900.0)
    seconds = step_seconds(7.6e9, work, H100, Efficiency(layer_seconds=0.0), 1)
    # 900 steps x 15.2 GB at 0.6 x 3.35 TB/s: 6.8 s; cache and arithmetic of one sequence are below a hundredth.
    assert seconds["rollout"] - FIXED_SECONDS["rollout"] == pytest.approx(900 * 15.2e9 / (0.6 * 3.35e12), rel=0.02)


def test_sequences_that_wait_for_cache_make_generation_longer() -> None:
    roomy, tight = find_gpu("h200"), find_gpu("h100")
    efficiency = Efficiency(layer_seconds=1e-2)  # launches dominate: only the number of decoding steps counts
    work = Workload(prompts=512, completions=8, tokens=4000.0, eval_problems=0, longest=4000.0)
    assert (
        step_seconds(7e9, work, tight, efficiency, 4)["rollout"]
        > step_seconds(7e9, work, roomy, efficiency, 4)["rollout"]
    )


def test_passes_that_are_not_made_take_no_time_and_own_factors_scale_their_phase() -> None:
    work = Workload(reference=False, old=False, eval_problems=0)
    seconds = step_seconds(7e9, work, H100, Efficiency(), 8)
    assert seconds["old"] == seconds["reference"] == seconds["evaluation"] == 0.0
    own = step_seconds(7e9, work, H100, Efficiency(factors={"training": 2.0}), 8)
    assert own["training"] == pytest.approx(2 * seconds["training"])
    assert own["rollout"] == seconds["rollout"]


@given(n=st.floats(1e8, 2e11), more=st.floats(1.01, 10))
def test_more_parameters_tokens_or_longer_tails_never_take_less_time(n: float, more: float) -> None:
    def total(size: float, tokens: float, longest: float) -> float:
        work = Workload(prompts=64, completions=8, tokens=tokens, longest=longest)
        return sum(step_seconds(size, work, H100, Efficiency(), 64).values())

    base = total(n, 500.0, 1000.0)
    assert total(n, 500.0 * more, 1000.0) > base
    assert total(n, 500.0, 1000.0 * more) > base


@pytest.mark.parametrize("half", ["tried", "new"])
def test_public_runs_kept_apart_are_predicted_within_a_factor_of_two(half: str) -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from step_times import PHASES, defaults, measured, predicted

    ratios: dict[str, list[float]] = {}
    with (ROOT / "benchmarks/public_step_times.csv").open(newline="") as lines:
        for row in csv.DictReader(lines):
            if row["half"] == half:
                expected = predicted(row, defaults)
                for phase, seconds in measured(row).items():
                    ratios.setdefault(phase, []).append(expected[phase] / seconds)
    assert set(ratios) == ({*PHASES, "step"} if half == "tried" else {"step"})
    for values in ratios.values():
        assert np.median(np.abs(np.array(values) - 1)) <= 0.3
        assert np.abs(np.log2(values)).max() <= 1


def test_constants_fitted_without_a_half_predict_it_within_a_factor_of_two() -> None:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    from step_times import fitted, half_of, measured, predicted

    with (ROOT / "benchmarks/public_step_times.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    for half in ("set", "tried", "new"):
        constants = fitted([row for row in rows if half_of(row) != half])
        ratios = [predicted(row, constants)["step"] / measured(row)["step"] for row in rows if half_of(row) == half]
        assert np.median(np.abs(np.array(ratios) - 1)) <= 0.3
        assert np.abs(np.log2(ratios)).max() <= 1
