"""The rest of a running trajectory."""

from __future__ import annotations

import numpy as np
import pytest
from support.fit_examples import SIZES, k_of, pivot_points

from tasks.fit.data.measurements import Measurements
from tasks.fit.forecasting.trajectory import forecast_run
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import Options
from tasks.study.errors import InputError

LAW = LAWS["saturating"]
OPTIONS = Options(draws=1000)


def cut(points: Measurements, run: str, steps: int) -> Measurements:
    """The table while `run` is still at that step."""
    index = points.runs.index(run)
    return points.where((points.run != index) | (points.step <= steps))


def test_other_runs_narrow_the_forecast_of_a_run_with_few_steps() -> None:
    points = pivot_points(noise=0.01, runs=3, steps=80, effect=0.005, seed=2)
    young = cut(points, "3.2e+10-0", 10)
    ahead = np.array([512.0 * 80])
    with_others = forecast_run(young, "3.2e+10-0", LAW, OPTIONS, ahead)
    alone = young.where(young.run == young.runs.index("3.2e+10-0"))
    without = forecast_run(alone, "3.2e+10-0", LAW, OPTIONS, ahead)
    widths = [row.loss[0].high95 - row.loss[0].low95 for row in (with_others, without)]
    assert widths[0] < 0.5 * widths[1]
    assert "20 other runs" in with_others.prior
    assert without.prior.startswith("none")


def test_intervals_hold_the_rest_of_held_out_trajectories() -> None:
    inside = []
    for seed in range(12):
        points = pivot_points(noise=0.008, runs=3, steps=60, effect=0.006, seed=seed)
        name = f"{SIZES[seed % 7]:g}-1"
        forecast = forecast_run(cut(points, name, 20), name, LAW, OPTIONS)
        rest = points.where((points.run == points.runs.index(name)) & (points.step > 20))
        low = np.interp(rest.x, np.log10(forecast.resource), [row.low95 for row in forecast.loss])
        high = np.interp(rest.x, np.log10(forecast.resource), [row.high95 for row in forecast.loss])
        inside.append(np.mean((low <= rest.loss) & (rest.loss <= high)))
    assert np.mean(inside) >= 0.88


def test_chance_of_a_target_rises_along_the_run_and_with_the_target() -> None:
    points = cut(pivot_points(noise=0.01, runs=3, steps=80, effect=0.005), "3.2e+10-0", 15)
    hard, easy = (forecast_run(points, "3.2e+10-0", LAW, OPTIONS, target=target) for target in (0.6, 0.8))
    assert hard.chance is not None
    assert easy.chance is not None
    assert hard.chance == sorted(hard.chance)
    assert all(a <= b for a, b in zip(hard.chance, easy.chance, strict=True))


def test_own_learning_efficiency_is_recovered_from_exact_points() -> None:
    forecast = forecast_run(pivot_points(runs=2), "7e+09-0", LAW, OPTIONS)
    assert forecast.k.value == pytest.approx(float(k_of(7e9)), rel=1e-3)


def test_size_no_other_run_has_gets_a_prior_from_a_law_that_forecasts() -> None:
    points = pivot_points(noise=0.005)
    assert "pivot" in forecast_run(points, "7e+09-0", LAWS["pivot"], OPTIONS).prior
    assert "other runs" in forecast_run(points, "7e+09-0", None, OPTIONS).prior
    assert forecast_run(points, "7e+09-0", LAW, OPTIONS).prior.startswith("none")


def test_unknown_and_ambiguous_runs_are_refused() -> None:
    points = pivot_points(runs=2)
    with pytest.raises(InputError, match="matches 0 of the 14 runs"):
        forecast_run(points, "nothing", LAW, OPTIONS)
    with pytest.raises(InputError, match="matches 2"):
        forecast_run(points, "7e+09", LAW, OPTIONS)


def test_run_with_two_points_and_impossible_target_are_refused() -> None:
    points = pivot_points(runs=2)
    with pytest.raises(InputError, match="2 points, a forecast needs at least 3"):
        forecast_run(cut(points, "7e+09-0", 2), "7e+09-0", LAW, OPTIONS)
    with pytest.raises(InputError, match="--target-loss"):
        forecast_run(points, "7e+09-0", LAW, OPTIONS, target=1.5)
