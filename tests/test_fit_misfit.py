"""Covariance of a run about its own line, and how noisy its points are."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.fit.data.measurements import Measurements, measure
from tasks.fit.forecasting.misfit import binomial_variance, misfit_covariance, noise_factor


def test_the_smooth_misfit_is_an_ornstein_uhlenbeck_process_in_log_step() -> None:
    steps = np.array([1.0, 10.0, 100.0])
    smooth = misfit_covariance(steps, steps)
    np.testing.assert_allclose(np.diag(smooth), 0.01)
    np.testing.assert_allclose(smooth[0, 1], 0.01 * np.exp(-5.0))
    # Markov: the inverse is tridiagonal.
    assert abs(np.linalg.inv(smooth)[0, 2]) < 1e-9 * np.linalg.inv(smooth)[0, 0]


def test_early_steps_have_a_misfit_of_their_own() -> None:
    whole = misfit_covariance([1.0, 20.0])
    np.testing.assert_allclose(np.diag(whole), [0.01 + 0.04, 0.01 + 0.0001])
    assert np.linalg.eigvalsh(misfit_covariance(np.arange(1, 80))).min() > 0


def test_the_binomial_variance_is_that_of_simulated_answers() -> None:
    rng = np.random.default_rng(0)
    simulated = np.log10(rng.binomial(2000, 0.3, size=40_000) / 2000)
    assert binomial_variance(0.3, 2000) == pytest.approx(simulated.var(), rel=0.03)


@pytest.mark.parametrize("phi", [0.4, 1.0])
def test_first_differences_find_the_factor_of_binomial_noise(phi: float) -> None:
    found = [noise_factor(_noisy_runs(phi, seed, trials=2000)) for seed in range(5)]
    assert np.mean(found) == pytest.approx(phi, rel=0.15)


def test_without_answers_the_factor_stands_for_their_number() -> None:
    points = _noisy_runs(1.0, 3, trials=None)
    assert 1.0 / noise_factor(points) == pytest.approx(2000, rel=0.35)
    assert noise_factor(measure([1e9] * 2, [1.0, 2.0], [0.5, 0.4])) == 0.002


def _noisy_runs(phi: float, seed: int, trials: int | None) -> Measurements:
    """Three runs of 80 steps whose noise is phi times that of 2,000 answers."""
    rng = np.random.default_rng(seed)
    step = np.tile(np.arange(1, 81), 3)
    n = np.repeat([1e9, 2e9, 4e9], 80)
    mean = -0.05 - 0.15 * np.log10(step)
    y = mean + rng.standard_normal(240) * np.sqrt(phi * binomial_variance(10**mean, 2000))
    count = None if trials is None else np.full(240, trials)
    return measure(n, 512.0 * step, np.minimum(10**y, 1.0), step=step, trials=count, unit="data")
