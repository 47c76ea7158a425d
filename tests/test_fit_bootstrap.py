"""Draws: right variance, deterministic, honest with few runs; intervals that cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats
from support.fit_examples import KMAX, SIZES, k_of, pivot_points

from benchmarks.calibration import coverage_of_study
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.uncertainty.bootstrap import draw_lines, run_level_variance
from tasks.fit.uncertainty.inference import coefficient_intervals, k_intervals, with_draws
from tasks.fit.uncertainty.moderation import moderate
from tasks.fit.uncertainty.student_t import quantile, two_sided_p
from tasks.study.errors import InputError


def test_draws_are_equal_for_equal_seeds_and_differ_for_others() -> None:
    points = pivot_points(noise=0.01, runs=3, effect=0.01)
    one, two, other = (
        with_draws(fit_law(points, LAWS["saturating"], Options(draws=200, seed=seed))).draws.theta for seed in (1, 1, 2)
    )
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_spread_of_level_draws_is_that_of_means_over_runs() -> None:
    points = pivot_points(noise=0.002, runs=8, effect=0.02, seed=3)
    lines = draw_lines(points, points.y, np.ones(len(points)), 20_000, 0)
    # 8 runs with a random level of 0.02: their mean has 0.02 / sqrt(8), a little more with Student tails.
    assert np.median(lines.level.std(axis=0)) == pytest.approx(0.02 / np.sqrt(8), rel=0.2)
    assert set(lines.method) == {"effects"}


def test_resampling_of_runs_has_the_unbiased_variance() -> None:
    points = pivot_points(noise=0.002, runs=3, effect=0.02, seed=5)
    lines = draw_lines(points, points.y, np.ones(len(points)), 40_000, 0, "runs")
    order = np.argsort([points.n[points.run == run][0] for run in range(21)], kind="stable")
    means = np.array([points.y[points.run == run].mean() for run in order]).reshape(7, 3)
    np.testing.assert_allclose(lines.level.std(axis=0), means.std(axis=1, ddof=1) / np.sqrt(3), rtol=0.03)


def test_blocks_follow_the_noise_of_a_single_run() -> None:
    points = pivot_points(noise=0.01, steps=105, seed=2)
    lines = draw_lines(points, points.y, np.ones(len(points)), 4_000, 0)
    assert set(lines.method) == {"blocks"}
    assert np.median(lines.level.std(axis=0)) == pytest.approx(0.01 / np.sqrt(105), rel=0.25)


def test_blocks_are_wider_where_residuals_are_autocorrelated() -> None:
    plain = pivot_points(noise=0.01, steps=105, seed=2)
    slow = np.convolve(np.random.default_rng(0).standard_normal(len(plain) + 9), np.ones(10) / 10, "valid")[
        : len(plain)
    ]
    slow *= 0.01 / slow.std()
    wandering = plain.y - (plain.y - fit_law(plain, LAWS["loglinear"]).eta) + slow
    spread = [
        draw_lines(plain, response, np.ones(len(plain)), 2_000, 0).level.std(axis=0).mean()
        for response in (plain.y, wandering)
    ]
    assert spread[1] > 1.7 * spread[0]


def test_size_with_one_run_takes_the_variance_of_the_others() -> None:
    points = pivot_points(noise=0.003, runs=3, effect=0.02, seed=4)
    single = [name for name in points.runs if name.startswith("7e+09")][1:]
    dropped = np.isin(np.array(points.runs)[points.run], single)
    lines = draw_lines(points.where(~dropped), points.y[~dropped], np.ones((~dropped).sum()), 4_000, 0)
    assert lines.method[3] == "effects of other sizes"
    assert lines.level[:, 3].std() > 1.2 * np.median(lines.level.std(axis=0))


def test_runs_cannot_be_resampled_where_every_size_has_one() -> None:
    points = pivot_points(noise=0.01)
    with pytest.raises(InputError, match="use blocks"):
        draw_lines(points, points.y, np.ones(len(points)), 100, 0, "runs")
    with pytest.raises(InputError, match="several runs"):
        run_level_variance(points)


def test_moderated_variance_lies_between_a_size_and_all_sizes() -> None:
    variance, freedom, within = np.array([1.0, 1.0, 1.0, 9.0]), np.full(4, 2.0), np.full(4, 0.1)
    moderated, total = moderate(variance, freedom, within, np.ones(4))
    assert moderated[0] < moderated[3] < 9.0
    assert moderated[0] > 1.0
    assert (total > 2.0).all()
    assert (total <= 8.0).all()


def test_more_draws_than_a_chunk_give_the_draws_of_the_pieces() -> None:
    points = pivot_points(noise=0.01)
    draws = with_draws(fit_law(points, LAWS["saturating"], Options(draws=5000))).draws
    assert draws.theta.shape == (5000,)
    assert np.isfinite(draws.theta).all()


def test_one_step_draws_of_a_curve_agree_with_exact_draws_of_the_same_line() -> None:
    # floor_shared with a floor near 0 is pivot: their intervals of k must agree.
    points = pivot_points(noise=0.004, runs=3, steps=20, effect=0.004, seed=1)
    exact, step = (
        k_intervals(with_draws(fit_law(points, LAWS[name], Options(draws=1000))), SIZES[-1:])[0]
        for name in ("pivot", "floor_shared")
    )
    assert step.high95 - step.low95 == pytest.approx(exact.high95 - exact.low95, rel=0.5)


@pytest.mark.parametrize("freedom", [1.0, 2.0, 5.0, 14.0, 300.0])
def test_student_agrees_with_scipy(freedom: float) -> None:
    for t in (0.0, 0.5, 2.1, 8.0):
        assert two_sided_p(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-8)
    assert quantile(0.95, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-8)
    assert two_sided_p(1.96, float("inf")) == pytest.approx(special.erfc(1.96 / np.sqrt(2)), rel=1e-12)


def test_objectives_other_than_log_have_draws_too() -> None:
    points = pivot_points(runs=3, trials=500, effect=0.005)
    for objective in ("linear", "binomial", "huber"):
        inside = coefficient_intervals(with_draws(fit_law(points, LAWS["saturating"], Options(objective, draws=500))))
        assert inside["Kmax"].low95 < KMAX < inside["Kmax"].high95
        assert k_of(72e9) == pytest.approx(KMAX / (1 + 1.3 / 7.2))


def test_intervals_cover_the_truth_on_synthetic_studies() -> None:
    rows = [coverage_of_study(seed, "level", Options(draws=300)) for seed in range(40)]
    for name in ("Kmax", "k(72B)", "loss(72B)"):
        covered = np.mean([row[name][2] <= row[name][0] <= row[name][3] for row in rows])
        # Nominal 0.95; 40 studies at 0.95 fall below 0.85 less than once in 100 times.
        assert covered >= 0.85, (name, covered)
    bias = np.mean([row["Kmax"][1] / row["Kmax"][0] - 1 for row in rows])
    assert abs(bias) < 0.02
