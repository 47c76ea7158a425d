"""Parts of the default forecast: curves, shared misfit, prior of a line, conditioning, mixtures, late start."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from support.fit_examples import SIZES, pivot_points

from tasks.fit.data.measurements import Measurements, measure
from tasks.fit.forecasting.condition import condition
from tasks.fit.forecasting.curves import Clock, Curve
from tasks.fit.forecasting.family import Misfit, fit_family
from tasks.fit.forecasting.forecast import predict, size_errors, warnings_of
from tasks.fit.forecasting.late_start import late_start
from tasks.fit.forecasting.line_prior import LinePrior, prior_of_size
from tasks.fit.forecasting.mixture import Mixture, student_scales
from tasks.fit.forecasting.rule import InitialLoss, Target, forecast_curve
from tasks.fit.forecasting.unseen import forecast_unseen
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.uncertainty.inference import with_draws
from tasks.study.errors import InputError

END = float(np.log10(512 * 100))


def test_compute_is_read_in_steps_by_each_sizes_own_rate() -> None:
    step = np.tile([1, 10, 100], 3)
    n = np.repeat([1e9, 2e9, 4e9], 3)
    points = measure(n, 3e3 * n * step, np.full(9, 0.5), step=step)
    clock = Clock.of(points)
    np.testing.assert_allclose(clock.time(points.where(points.n == 2e9)), [0.0, 1.0, 2.0])
    offset, error = clock.offset_of(8e9, None)
    assert (offset, error) == (pytest.approx(np.log10(3e3 * 8e9)), pytest.approx(0.0, abs=1e-9))
    own = measure([8e9], [1e14], [0.5], step=[2])
    assert clock.offset_of(8e9, own)[0] == pytest.approx(np.log10(5e13))


def test_points_of_a_size_are_averaged_within_narrow_bins_of_log_step() -> None:
    points = pivot_points(steps=100, runs=3, noise=0.01).where(pivot_points(steps=100, runs=3).n == 7e9)
    curve = Clock.of(points).curve(points)
    assert len(curve.t) < 30
    np.testing.assert_allclose(curve.t[:4], np.log10([1, 2, 3, 4]))
    assert curve.noise[0] == pytest.approx(3 * curve.noise[np.argmin(abs(curve.t - 1))], rel=1.5)


def test_shared_shape_of_all_sizes_is_recovered_for_one_that_has_not_got_there() -> None:
    t = np.linspace(0.0, 2.0, 25)
    shape = 0.25 * np.sin(2.5 * t)
    curves = [Curve(n, t, -0.02 - k * (t - shape), np.full(25, 1e-7)) for n, k in ((1e9, 0.1), (2e9, 0.13), (4e9, 0.2))]
    family = fit_family(curves, stepped=True)
    early, prior = t < 1.2, LinePrior(np.array([-0.2, -0.16]), np.diag([0.05**2, 0.08**2]), 5, "test")
    own = Curve(8e9, t[early], -0.03 - 0.16 * (t - shape)[early], np.full(early.sum(), 1e-7))
    ahead = condition(family, prior, own, t[~early]).curve.center
    straight = np.polyval(np.polyfit(own.t, own.y, 1), t[~early])
    truth = (-0.03 - 0.16 * (t - shape))[~early]
    assert np.abs(ahead - truth).max() < 0.3 * np.abs(straight - truth).max()


def test_conditioning_equals_brute_force_gaussian_conditioning() -> None:
    rng = np.random.default_rng(3)
    t, own_t, query = np.linspace(0.3, 2, 6), np.array([0.3, 0.7]), np.array([1.5, 2.2])
    curves = [
        Curve(n, t, -k * t + 0.01 * rng.standard_normal(6), np.full(6, 1e-4)) for n, k in ((1e9, 0.1), (4e9, 0.2))
    ]
    # No wandering slope, no clock below three sizes: what is left is written down again here.
    family = fit_family(curves, stepped=True, misfit=Misfit(smooth=0.1, bend=1e-9))
    prior = LinePrior(np.array([-0.3, -0.2]), np.array([[0.01, 0.002], [0.002, 0.005]]), 10**6, "test")
    own = Curve(8e9, own_t, np.array([-0.05, -0.15]), np.full(2, 1e-4))
    found = condition(family, prior, own, query)

    def moments(scale: float) -> tuple[np.ndarray, np.ndarray, float]:
        times = np.append(own_t, query)
        line = np.stack([np.ones(4), times - family.center], axis=1)
        grid = np.stack([np.ones(40), family.grid], axis=1)
        remove = np.stack([np.ones(4), times], axis=1) @ np.linalg.pinv(grid)
        every = np.append(times, family.grid)
        kernel = np.exp(-np.abs(every[:, None] - every) / 0.2)
        keep = np.hstack([np.eye(4), -remove])
        full = scale**2 * 0.01 * keep @ kernel @ keep.T + np.diag((0.2 * scale / 10**times) ** 2 + 1e-10)
        full += np.diag([1e-4, 1e-4, 0, 0]) + line @ prior.scale @ line.T
        gain = full[2:, :2] @ np.linalg.inv(full[:2, :2])
        rest = own.y - line[:2] @ prior.mean
        slope = prior.mean[1] + (prior.scale @ line[:2].T)[1] @ np.linalg.inv(full[:2, :2]) @ rest
        return line[2:] @ prior.mean + gain @ rest, np.diag(full[2:, 2:] - gain @ full[:2, 2:]), float(slope)

    mean, variance, _ = moments(abs(moments(0.2)[2]))
    # Nine nearly equal components and one that the points do not prefer.
    narrow = found.curve.weight[:9] / found.curve.weight[:9].sum()
    np.testing.assert_allclose(narrow @ found.curve.mean[:9], mean, atol=2e-3)
    np.testing.assert_allclose(narrow @ found.curve.variance[:9], variance, rtol=0.05)


def test_mixture_of_scales_is_students_t() -> None:
    scales = student_scales(4, 400)
    mixture = Mixture(np.full(400, 1 / 400), np.zeros((400, 1)), scales[:, None])
    for probability in (0.8, 0.95, 0.975):
        assert mixture.quantile(probability)[0] == pytest.approx(stats.t.ppf(probability, 4), rel=0.02)
    assert mixture.below(0.0)[0] == pytest.approx(0.5)
    assert mixture.widened(4.0).quantile(0.9)[0] == pytest.approx(2 * mixture.quantile(0.9)[0], rel=1e-6)


def test_prior_beyond_the_sizes_is_damped_and_its_error_grows_with_the_distance() -> None:
    points = pivot_points(noise=0.002, steps=100)
    clock = Clock.of(points)
    family = fit_family([clock.curve(points.where(points.n == n)) for n in points.sizes], stepped=True)
    near, far, free = (prior_of_size(family, n, damping) for n, damping in ((144e9, 0.7), (1e12, 0.7), (1e12, 1.0)))
    assert near is not None
    assert far is not None
    assert free is not None
    assert free.mean[0] < far.mean[0] < near.mean[0]
    assert np.sqrt(far.scale[0, 0]) / abs(far.mean[0]) > 1.5 * np.sqrt(near.scale[0, 0]) / abs(near.mean[0])
    assert near.dof == 3 + 4
    assert np.linalg.eigvalsh(near.scale).min() > 0


@pytest.mark.parametrize("sizes", [1, 2, 3])
def test_few_sizes_degrade_to_something_that_is_said(sizes: int) -> None:
    points = pivot_points(noise=0.003, steps=100)
    few = points.where(points.n <= SIZES[sizes - 1])
    wide = forecast_unseen(few, "base", 7e9, 512.0 * 100)
    assert wide.high95 / wide.low95 > 1.2
    notes = " ".join(wide.warnings)
    assert ("no common clock" in notes) == (sizes < 3)
    assert ("nearest of" in notes) == (sizes < 3)
    truth = float(points.loss[points.n == 7e9][-1])
    assert wide.low95 < truth < wide.high95


def test_table_without_steps_has_no_clock_and_says_so() -> None:
    points = pivot_points(noise=0.003, steps=60)
    bare = measure(points.n, points.resource, points.loss, unit="data")
    row = forecast_unseen(bare, "base", 144e9, 512.0 * 60)
    assert any("no steps" in note for note in row.warnings)
    assert row.low95 < row.loss < row.high95


def test_error_ahead_in_x_is_kept_where_one_size_has_few_points() -> None:
    points = pivot_points(noise=0.005, steps=40)
    few = points.where((points.n < 7e10) | (points.step <= 3))
    short = points.where(points.step % 10 == 0)
    widths = []
    for part in (points, few, short):
        fit = with_draws(fit_law(part, LAWS["saturating"], Options(draws=400)))
        error = size_errors(part, LAWS["saturating"], Options(draws=400))
        loss = predict(fit, [3.2e10], [END + 1.0], error).loss(0, "mean")
        widths.append(np.log10(loss.high95 / loss.low95))
        note = any("half of its slope" in text for text in warnings_of(part, 3.2e10, 10 ** (END + 1.0), error)[0])
        assert note == (part is short)
    assert min(widths[1:]) > 0.8 * widths[0]


def test_first_steps_are_left_out_where_that_lowers_the_held_out_error() -> None:
    step = np.tile(np.arange(1, 101), 3)
    n = np.repeat([1e9, 2e9, 4e9], 100)
    line = -0.4 - 0.05 * np.log10(step)
    jump = 0.3 * np.clip(1 - step / 15.0, 0, 1)
    assert 10 <= late_start(measure(n, 512.0 * step, 10 ** (line + jump), step=step))[0] <= 25
    straight, note = late_start(measure(n, 512.0 * step, 10**line, step=step))
    assert straight == 0
    assert "no step left out" in note


def test_initial_loss_of_an_unseen_size_moves_its_forecast() -> None:
    points = pivot_points(noise=0.003, steps=100)
    x = np.array([END])
    plain = forecast_curve(points, Target(144e9), x)
    good = forecast_curve(points, Target(144e9, None, InitialLoss(0.3, 5000)), x)
    bad = forecast_curve(points, Target(144e9, None, InitialLoss(0.9, 5000)), x)
    assert good.curve.center[0] < plain.curve.center[0] < bad.curve.center[0]


def test_forecast_is_the_same_bits_every_time_and_refuses_infinite_x() -> None:
    points: Measurements = pivot_points(noise=0.003)
    assert forecast_unseen(points, "base", 144e9, 1e5) == forecast_unseen(points, "base", 144e9, 1e5)
    with pytest.raises(InputError, match="must be positive"):
        forecast_unseen(points, "base", 144e9, float("inf"))


def test_intervals_hold_sizes_that_the_rule_has_not_seen() -> None:
    inside = []
    for seed in range(6):
        points = pivot_points(noise=0.006, runs=1, steps=80, effect=0.01, seed=seed)
        held = points.where(points.n == 72e9)
        found = forecast_curve(points.where(points.n < 72e9), Target(72e9), held.x).measured
        inside.append(np.mean((found.quantile(0.025) <= held.y) & (held.y <= found.quantile(0.975))))
    assert np.mean(inside) >= 0.9


def test_sizes_without_a_line_are_left_out_and_named() -> None:
    points = pivot_points(noise=0.003, steps=60)
    crashed = points.where((points.n != 14e9) | (points.step <= 2))
    row = forecast_unseen(crashed, "base", 144e9, 512.0 * 60)
    assert any("left out, with fewer than 3 points: 14B" in note for note in row.warnings)
    without = forecast_unseen(points.where(points.n != 14e9), "base", 144e9, 512.0 * 60)
    assert row.loss == pytest.approx(without.loss, rel=1e-9)


def test_long_runs_are_scored_by_some_of_their_points() -> None:
    step = np.tile(np.arange(1, 20_001), 4)
    n = np.repeat([1e9, 2e9, 4e9, 8e9], 20_000)
    noise = 0.01 * np.random.default_rng(0).standard_normal(len(step))
    points = measure(n, 512.0 * step, 10 ** (-0.05 - 0.02 * np.log10(n / 1e8) * np.log10(step) + noise), step=step)
    truth = 10 ** (-0.05 - 0.02 * np.log10(160) * np.log10(20_000))
    row = forecast_unseen(points, "base", 16e9, 512.0 * 20_000)
    assert row.low95 < truth < row.high95
