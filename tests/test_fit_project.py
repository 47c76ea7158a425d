"""Exact projection against values by hand, scipy and statsmodels, and the properties of the law."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares
from support.fit_examples import SIZES, pivot_points

from tasks.fit.data.measurements import Measurements, measure
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.solver.objectives import contributions
from tasks.study.errors import InputError

LAW = LAWS["saturating"]


def by_scipy(points: Measurements, linear: bool) -> tuple[float, np.ndarray]:
    """The published law by a general optimiser from several starts: objective and (Kmax, log10 N0, E)."""

    def residual(p: np.ndarray) -> np.ndarray:
        eta = -p[0] / (1 + 10 ** p[1] / points.n) * points.x + p[2:][points.size]
        return 10**eta - points.loss if linear else eta - points.y

    starts = [np.r_[k, t, np.zeros(len(points.sizes))] for k in (0.05, 0.2) for t in (9.5, 10.5)]
    tight = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
    found = min((least_squares(residual, start, method="lm", **tight) for start in starts), key=lambda r: r.cost)
    return 2 * found.cost, found.x


def test_two_sizes_of_three_points_give_the_slopes_worked_by_hand() -> None:
    # Size 1: log L = 0, -1, -2 at log X = 0, 1, 2 is k = 1; size 3: half of that slope is k = 1.5 times as large.
    points = measure([1] * 3 + [3] * 3, [1, 10, 100] * 2, 10 ** np.array([0, -1.0, -2, 0, -1.5, -3]))
    fitted = fit_law(points, LAW)
    # Kmax / (1 + N0) = 1 and Kmax / (1 + N0/3) = 1.5: N0 = 1, Kmax = 2.
    assert float(fitted.parameters.coefficients()["N0"]) == pytest.approx(1.0, rel=1e-9)
    assert float(fitted.parameters.coefficients()["Kmax"]) == pytest.approx(2.0, rel=1e-9)
    assert fitted.value == pytest.approx(0.0, abs=1e-20)


@pytest.mark.parametrize("objective", ["log", "linear"])
def test_fit_equals_scipy_on_the_same_objective(objective: str) -> None:
    points = pivot_points(noise=0.01, seed=3)
    fitted = fit_law(points, LAW, Options(objective))
    value, p = by_scipy(points, objective == "linear")
    assert fitted.value == pytest.approx(value, rel=1e-12)
    named = fitted.parameters.coefficients()
    assert float(named["Kmax"]) == pytest.approx(p[0], rel=1e-7)
    assert np.log10(float(named["N0"])) == pytest.approx(p[1], rel=1e-7)


def test_constant_slope_equals_ordinary_least_squares_of_statsmodels() -> None:
    points = pivot_points(noise=0.02, seed=4)
    design = np.column_stack([-points.x, np.eye(len(SIZES))[points.size]])
    reference = sm.OLS(points.y, design).fit()
    fitted = fit_law(points, LAWS["constant"])
    assert float(fitted.parameters.coefficients()["k"]) == pytest.approx(reference.params[0], rel=1e-10)
    assert fitted.value == pytest.approx(reference.ssr, rel=1e-10)


def test_binomial_objective_equals_the_log_link_regression_of_statsmodels() -> None:
    points = pivot_points(trials=500, seed=5)
    points = points.where(points.n >= 7e9)
    design = np.column_stack([-points.x, np.eye(len(points.sizes))[points.size]]) * np.log(10)
    assert points.trials is not None
    wrong = np.round(points.loss * points.trials)
    counts = np.column_stack([wrong, points.trials - wrong])
    family = sm.families.Binomial(link=sm.families.links.Log())
    start = np.r_[0.05, np.zeros(len(points.sizes))]
    reference = sm.GLM(counts, design, family=family).fit(start_params=start, tol=1e-12)
    fitted = fit_law(points, LAWS["constant"], Options("binomial"))
    assert float(fitted.parameters.coefficients()["k"]) == pytest.approx(reference.params[0], rel=1e-6)
    assert fitted.value == pytest.approx(reference.deviance, rel=1e-9)


def test_huber_ignores_a_wild_point_that_moves_least_squares() -> None:
    points = pivot_points(noise=0.003, seed=6)
    loss = points.loss.copy()
    loss[5] = 0.01
    wild = measure(points.n, points.resource, loss, unit="data")
    clean = float(fit_law(points, LAW).parameters.k([SIZES[0]])[0])
    robust = float(fit_law(wild, LAW, Options("huber")).parameters.k([SIZES[0]])[0])
    plain = float(fit_law(wild, LAWS["loglinear"]).parameters.k([SIZES[0]])[0])
    alone = float(fit_law(wild, LAWS["loglinear"], Options("huber")).parameters.k([SIZES[0]])[0])
    assert abs(robust - clean) < 0.002
    assert abs(alone - clean) < 0.2 * abs(plain - clean)


def test_no_theta_on_a_fine_grid_beats_the_fit() -> None:
    points = pivot_points(noise=0.03, seed=7)
    fitted = fit_law(points, LAW)
    for log_n0 in np.linspace(6, 14, 161):
        phi = 1 / (1 + 10**log_n0 / points.n)
        design = np.column_stack([-phi * points.x, np.eye(len(SIZES))[points.size]])
        rest = points.y - design @ np.linalg.lstsq(design, points.y, rcond=None)[0]
        assert rest @ rest >= fitted.value * (1 - 1e-12)


@given(factor=st.floats(1e-6, 1e6), seed=st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_rescaling_the_resource_shifts_the_levels_only(factor: float, seed: int) -> None:
    points = pivot_points(noise=0.01, steps=10, seed=seed)
    scaled = measure(points.n, points.resource * factor, points.loss, unit="data")
    one, two = fit_law(points, LAW).parameters, fit_law(scaled, LAW).parameters
    assert float(two.theta) == pytest.approx(float(one.theta), rel=1e-8)
    np.testing.assert_allclose(two.k(SIZES), one.k(SIZES), rtol=1e-8)
    np.testing.assert_allclose(two.levels - one.levels, one.k(SIZES) * np.log10(factor), atol=1e-8)


@given(seed=st.integers(0, 1000))
@settings(max_examples=25, deadline=None)
def test_order_of_rows_changes_no_bit(seed: int) -> None:
    points = pivot_points(noise=0.01, steps=8, runs=2)
    order = np.random.default_rng(seed).permutation(len(points))
    names = [points.runs[index] for index in points.run[order]]
    shuffled = measure(points.n[order], points.resource[order], points.loss[order], names, step=points.step[order])
    one, two = fit_law(points, LAW), fit_law(shuffled, LAW)
    assert one.value == two.value
    assert float(one.parameters.theta) == float(two.parameters.theta)
    assert np.array_equal(one.parameters.levels, two.parameters.levels)


@given(share=st.floats(0.1, 3.0))
@settings(max_examples=10, deadline=None)
def test_points_added_on_the_fitted_lines_keep_the_fit(share: float) -> None:
    points = pivot_points(noise=0.01, steps=12)
    state = fit_law(points, LAW).parameters
    extra = points.resource * share
    exact = np.minimum(10 ** state.predict(points.n, np.log10(extra)), 1.0)
    more = measure(np.r_[points.n, points.n], np.r_[points.resource, extra], np.r_[points.loss, exact])
    np.testing.assert_allclose(fit_law(more, LAW).parameters.k(SIZES), state.k(SIZES), rtol=1e-6)


def test_equal_weight_counts_a_long_and_a_short_size_alike() -> None:
    points = pivot_points(noise=0.02)
    keep = (points.n != SIZES[0]) | (points.step % 4 == 0)
    fitted = fit_law(points.where(keep), LAW, Options(equal_weight=True))
    totals = np.bincount(fitted.points.size, weights=fitted.weight)
    np.testing.assert_allclose(totals, totals[0])


def test_warm_up_clipping_leaves_the_first_steps_out() -> None:
    fitted = fit_law(pivot_points(), LAW, Options(skip_steps=10))
    assert fitted.points.step.min() == 11


def test_size_with_two_points_is_refused_by_name() -> None:
    points = pivot_points()
    keep = (points.n != 7e9) | (points.step <= 2)
    with pytest.raises(InputError, match="size 7B has 2 points, expected at least 3"):
        fit_law(points.where(keep), LAW)


def test_one_value_of_x_at_a_size_is_refused() -> None:
    points = measure([1, 1, 1, 2, 2, 2], [5, 5, 5, 1, 2, 3], [0.5, 0.6, 0.7, 0.5, 0.4, 0.3])
    with pytest.raises(InputError, match="one value of X only"):
        fit_law(points, LAW)


def test_binomial_objective_without_trials_is_refused() -> None:
    with pytest.raises(InputError, match="--trials"):
        fit_law(pivot_points(), LAW, Options("binomial"))


@pytest.mark.parametrize(("n", "x", "loss"), [(0, 1, 0.5), (1, -1, 0.5), (1, 1, 0.0), (1, 1, 1.1), (1, 1, np.nan)])
def test_impossible_values_are_refused_with_their_position(n: float, x: float, loss: float) -> None:
    with pytest.raises(InputError, match="point 2"):
        measure([1, n, 1], [1, x, 3], [0.5, loss, 0.5])


def test_binomial_deviance_of_a_perfect_fit_is_zero() -> None:
    points = pivot_points(trials=500)
    assert np.allclose(contributions("binomial", points, points.y, 1.0)[points.loss < 1], 0.0, atol=1e-9)
