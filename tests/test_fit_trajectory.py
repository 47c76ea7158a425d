"""The rest of a running trajectory."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.fit_examples import SIZES, k_of, pivot_points

from tasks.fit.data.measurements import Measurements, measure
from tasks.fit.forecasting.rule import InitialLoss
from tasks.fit.forecasting.trajectory import forecast_run
from tasks.study.errors import InputError

AHEAD = np.array([512.0 * 80])


def cut(points: Measurements, run: str, steps: int) -> Measurements:
    """The table while `run` is still at that step."""
    index = points.runs.index(run)
    return points.where((points.run != index) | (points.step <= steps))


def test_other_runs_narrow_the_forecast_of_a_run_with_few_steps() -> None:
    points = pivot_points(noise=0.01, runs=3, steps=80, effect=0.005, seed=2)
    young = cut(points, "3.2e+10-0", 10)
    with_others = forecast_run(young, "3.2e+10-0", AHEAD)
    alone = young.where(young.run == young.runs.index("3.2e+10-0"))
    without = forecast_run(alone, "3.2e+10-0", AHEAD)
    widths = [row.loss[0].high95 - row.loss[0].low95 for row in (with_others, without)]
    assert widths[0] < 0.5 * widths[1]
    assert "2 other run(s) of its size" in with_others.prior
    assert without.prior.startswith("no other runs")


def test_intervals_hold_the_rest_of_held_out_trajectories() -> None:
    inside = []
    for seed in range(8):
        points = pivot_points(noise=0.008, runs=3, steps=60, effect=0.006, seed=seed)
        name = f"{SIZES[seed % 7]:g}-1"
        rest = points.where((points.run == points.runs.index(name)) & (points.step > 20))
        loss = forecast_run(cut(points, name, 20), name, rest.resource).loss
        inside += [row.low95 <= measured <= row.high95 for measured, row in zip(rest.loss, loss, strict=True)]
    assert np.mean(inside) >= 0.9


def test_chance_of_a_target_rises_along_the_run_and_with_the_target() -> None:
    points = cut(pivot_points(noise=0.01, runs=3, steps=80, effect=0.005), "3.2e+10-0", 15)
    hard, easy = (forecast_run(points, "3.2e+10-0", target=target) for target in (0.6, 0.8))
    assert hard.chance is not None
    assert easy.chance is not None
    assert hard.chance == sorted(hard.chance)
    assert all(a <= b for a, b in zip(hard.chance, easy.chance, strict=True))


def test_own_learning_efficiency_is_recovered_from_exact_points() -> None:
    forecast = forecast_run(pivot_points(runs=2), "7e+09-0")
    assert forecast.k.value == pytest.approx(float(k_of(7e9)), rel=0.01)
    assert forecast.k.low95 < forecast.k.value < forecast.k.high95


def test_size_no_other_run_has_gets_its_prior_from_the_damped_law() -> None:
    forecast = forecast_run(cut(pivot_points(noise=0.005), "7.2e+10-0", 1), "7.2e+10-0", AHEAD)
    assert forecast.seen == 1
    assert "pivot law on 6 sizes" in forecast.prior
    assert any("--damping" in note for note in forecast.notes)
    truth = pivot_points(steps=80)
    end = float(truth.loss[truth.n == 7.2e10][-1])
    assert forecast.loss[0].low95 < end < forecast.loss[0].high95


def test_collapsed_run_is_flagged_and_not_forecast_to_recover() -> None:
    points = pivot_points(noise=0.002, steps=20)
    own = points.n == 7e9
    loss = points.loss.copy()
    loss[own] = np.r_[np.linspace(0.6, 0.5, 12), np.linspace(0.5, 1.0, 8)]
    collapsed = replace(points, loss=loss)
    forecast = forecast_run(collapsed, "7e+09-0", [512.0 * 40])
    assert "not forecast to recover" in forecast.notes[0]
    assert forecast.loss[0].value > 0.9
    assert forecast.loss[0].low80 > 0.5
    assert not any("recover" in note for note in forecast_run(points, "7e+09-0").notes)


def test_run_that_jumped_and_flattened_is_not_forecast_to_jump_on() -> None:
    step = np.arange(2, 101, 2)
    rng = np.random.default_rng(1)
    n, columns = np.repeat(SIZES[2:], len(step)), []
    for index in range(5):
        bent = -0.25 - 0.1 * index + 0.25 * np.exp(-step / (10.0 + index)) - 0.02 * np.log10(step)
        columns.append(10 ** (bent + 0.005 * rng.standard_normal(len(step))))
    points = measure(n, 512.0 * np.tile(step, 5), np.concatenate(columns), step=np.tile(step, 5), unit="data")
    for name in points.runs:
        seen = cut(points, name, 50)
        own = points.where(points.run == points.runs.index(name))
        late, last = own.step > 50, float(own.loss[own.step == 50][0])
        forecast = forecast_run(seen, name, own.resource[late])
        error = np.log10([row.value for row in forecast.loss]) - own.y[late]
        stays = np.log10(last) - own.y[late]
        assert np.sqrt(np.mean(error**2)) < max(np.sqrt(np.mean(stays**2)), 0.01)
        width = np.mean([np.log10(row.high95 / row.low95) for row in forecast.loss])
        assert width < 0.1


def test_loss_before_training_moves_the_forecast_of_an_early_run() -> None:
    points = cut(pivot_points(noise=0.02, steps=80), "7.2e+10-0", 1)
    low, high = (
        forecast_run(points, "7.2e+10-0", AHEAD, initial=InitialLoss(loss, 5000)).loss[0].value for loss in (0.5, 0.9)
    )
    assert low < high


def test_unknown_and_ambiguous_runs_are_refused() -> None:
    points = pivot_points(runs=2)
    with pytest.raises(InputError, match="matches 0 of the 14 runs"):
        forecast_run(points, "nothing")
    with pytest.raises(InputError, match="matches 2"):
        forecast_run(points, "7e+09")


def test_lonely_run_with_two_points_and_impossible_values_are_refused() -> None:
    points = pivot_points(runs=2)
    alone = points.where(points.run == points.runs.index("7e+09-0"))
    with pytest.raises(InputError, match="2 points, alone a run needs at least 3"):
        forecast_run(cut(alone, "7e+09-0", 2), "7e+09-0")
    with pytest.raises(InputError, match="--target-loss"):
        forecast_run(points, "7e+09-0", target=1.5)
    with pytest.raises(InputError, match="--x"):
        forecast_run(points, "7e+09-0", [np.inf])
