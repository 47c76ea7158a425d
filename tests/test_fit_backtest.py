"""Held-out points stay out: changing them moves no number of a fit; scores mean what they say."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from support.fit_examples import SIZES, pivot_points

from tasks.fit.data.measurements import Measurements
from tasks.fit.forecasting.forecast import ExtrapolationSpread, predict, run_fraction, size_errors, warnings_of
from tasks.fit.forecasting.law_choice import best_for_unseen, choose_law
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import FitResult, Options, fit_law
from tasks.fit.uncertainty.inference import BootstrappedFit, with_draws
from tasks.fit.validation import backtest
from tasks.fit.validation.backtest import backtests, held_out_largest, windows

FEW = Options(draws=100)


def kept(seen: list[BootstrappedFit], fitted: FitResult) -> BootstrappedFit:
    seen.append(with_draws(fitted))
    return seen[-1]


@pytest.mark.parametrize("name", ["loglinear", "saturating", "pivot", "floor", "floor_shared", "additive"])
def test_changing_held_out_losses_moves_no_coefficient_and_no_draw(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    points, law = pivot_points(noise=0.01, runs=2, steps=20, effect=0.01), LAWS[name]
    # The last cut of every kind: the others differ from it only in which size they leave out.
    for kind, held in dict(backtest._cuts(points, law)).items():
        # next_size also keeps the sizes above out of the fit; spoil those too.
        spoiled = held | (points.n > points.n[held].min()) if kind == "next_size" else held
        other = replace(points, loss=np.where(spoiled, 0.5 * points.loss, points.loss))
        seen: list[BootstrappedFit] = []
        for data in (points, other):
            monkeypatch.setattr(backtest, "with_draws", partial(kept, seen))
            backtest._test(data, law, FEW, ("all", kind, {}), held)
        for key, value in seen[0].result.parameters.coefficients().items():
            assert np.array_equal(value, seen[1].result.parameters.coefficients()[key]), (kind, key)
        for key, value in seen[0].draws.coefficients().items():
            assert np.array_equal(value, seen[1].draws.coefficients()[key]), (kind, key)


def test_law_error_of_a_back_test_does_not_see_the_held_out_size() -> None:
    points = pivot_points(noise=0.01)
    train = points.where(points.n < SIZES[-1])
    spoiled = replace(points, loss=np.where(points.n == SIZES[-1], 0.9, points.loss))
    again = spoiled.where(points.n < SIZES[-1])
    assert size_errors(train, LAWS["pivot"], FEW) == size_errors(again, LAWS["pivot"], FEW)


def test_exact_law_forecasts_an_unseen_size_without_error() -> None:
    tests = backtests(pivot_points(), LAWS["pivot"], FEW, "all")
    largest = next(test for test in tests if test.kind == "largest_out")
    assert largest.rmse_log < 1e-6
    assert largest.held_out == "72B"
    assert not largest.level_refitted
    assert largest.last_forecast == pytest.approx(largest.last_measured, rel=1e-5)


def test_free_levels_are_marked_as_refitted() -> None:
    tests = backtests(pivot_points(noise=0.01), LAWS["saturating"], FEW, "all")
    assert {test.level_refitted for test in tests if test.kind == "size_out"} == {True}
    assert {test.level_refitted for test in tests if test.kind.startswith("last")} == {False}


def test_next_size_tests_cover_every_size_above_the_third() -> None:
    tests = backtests(pivot_points(noise=0.01), LAWS["pivot"], FEW, "all")
    assert [test.held_out for test in tests if test.kind == "next_size"] == ["7B", "14B", "32B", "72B"]


def test_choice_picks_the_true_form_without_the_largest_size() -> None:
    points = pivot_points(noise=0.002)
    choice = best_for_unseen(points.where(points.n < SIZES[-1]), FEW, "all")
    assert choice is not None
    assert choice.chosen in ("pivot", "floor_shared")
    assert choice.errors["additive"] > 5 * choice.errors["pivot"]
    spoiled = replace(points, loss=np.where(points.n == SIZES[-1], 0.9, points.loss))
    assert held_out_largest(spoiled, FEW, "all")[0] == held_out_largest(points, FEW, "all")[0]


def test_choose_uses_next_size_errors_of_laws_that_forecast() -> None:
    points = pivot_points(noise=0.005, steps=15)
    tests = [t for name in ("pivot", "additive") for t in backtests(points, LAWS[name], FEW, "all")]
    assert choose_law(tests, "all", "data").chosen == "pivot"


def test_coverage_of_forecasts_ahead_is_near_nominal() -> None:
    shares = []
    for seed in range(6):
        points = pivot_points(noise=0.01, runs=3, effect=0.008, steps=60, seed=seed)
        held = run_fraction(points) > 0.5
        shares.append(backtest._test(points, LAWS["saturating"], FEW, ("all", "last_50", {}), held).coverage["95"])
    assert 0.88 <= np.mean(shares) <= 1.0


def test_windows_of_an_exact_law_agree() -> None:
    rows = windows(pivot_points(steps=60), LAWS["saturating"], FEW, "all")
    assert len(rows) == 7
    assert np.ptp([row.k_largest for row in rows]) < 1e-6


def test_progress_counts_steps_of_each_run() -> None:
    points = pivot_points(steps=40)
    assert run_fraction(points).max() == 1.0
    assert run_fraction(points).min() == pytest.approx(1 / 40)


def test_forecast_of_a_measured_point_is_wider_than_of_the_curve() -> None:
    fit = with_draws(fit_law(pivot_points(noise=0.01, runs=3, effect=0.02), LAWS["saturating"], Options(draws=3000)))
    forecast = predict(fit, [7e9], [4.0], ExtrapolationSpread())
    mean, measured = forecast.loss(0, "mean"), forecast.loss(0)
    assert measured.high95 - measured.low95 > 1.5 * (mean.high95 - mean.low95)


def test_fewer_graded_answers_widen_a_forecast() -> None:
    fit = with_draws(fit_law(pivot_points(noise=0.002, runs=3), LAWS["saturating"], Options(draws=3000)))
    many, few = (predict(fit, [7e9], [4.0], ExtrapolationSpread(), trials=t).loss(0) for t in (50_000, 100))
    assert few.high95 - few.low95 > 5 * (many.high95 - many.low95)


def test_forecast_beyond_the_sizes_widens_with_distance() -> None:
    points = pivot_points(noise=0.01)
    fit, error = (
        with_draws(fit_law(points, LAWS["pivot"], Options(draws=3000))),
        ExtrapolationSpread((0.02, 0.02, 0.02), (0.01,)),
    )
    near, far = (predict(fit, [n], [4.0], error).loss(0, "mean") for n in (1e11, 1e12))
    assert np.log10(far.high95 / far.low95) > 1.5 * np.log10(near.high95 / near.low95)


def test_warnings_name_the_factor_outside_the_data() -> None:
    points = pivot_points(steps=40)
    notes, n_factor, x_factor = warnings_of(points, 144e9, 512 * 40 * 3, ExtrapolationSpread((0.1,)))
    assert n_factor == pytest.approx(2.0)
    assert x_factor == pytest.approx(3.0)
    assert "factor 2 above the largest" in notes[0]
    assert "factor 3 above the largest" in notes[1]


def test_inside_the_data_there_is_nothing_to_warn_about() -> None:
    points: Measurements = pivot_points()
    assert warnings_of(points, 7e9, 5120.0, ExtrapolationSpread()) == ([], 1.0, 1.0)
