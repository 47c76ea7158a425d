"""The rest of a running trajectory from its first points, and the chance that it reaches a target loss.

A run's line log10 L = m - k (x - c) has a prior from the other runs of its table: what the law says about its size,
with parameter, law and run-to-run uncertainty, as mean and covariance of (m, k) over draws. Its own points update it,
by the usual conjugate regression with noise that includes their autocorrelation. A run alone in its table has a flat
prior. Beyond the X that any run of its size has reached, the error of straight lines that the table itself shows
(fitted to first halves, scored on last quarters) is added in proportion to the distance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.forecasting.forecast import ExtrapolationSpread, as_loss, later_step_errors, predict, size_errors
from tasks.fit.forecasting.law_choice import default_law
from tasks.fit.laws import LAWS, Law
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.solver.line_statistics import line_statistics
from tasks.fit.uncertainty.blocks import long_run_ratio
from tasks.fit.uncertainty.inference import BootstrappedFit, Interval, interval, with_draws
from tasks.study.errors import InputError


@dataclass(frozen=True)
class RunForecast:
    """Forecast of a run.

    Attributes:
        run: its name.
        n: its size.
        seen: points so far.
        k: learning efficiency of this run, posterior.
        resource: X at which losses are forecast [Q].
        loss: intervals of a measured loss at each X [Q].
        target: target loss, or None.
        chance: probability that the run's loss (evaluation noise apart) is at or below the target at each X [Q].
        prior: what the prior came from.
    """

    run: str
    n: float
    seen: int
    k: Interval
    resource: list[float]
    loss: list[Interval]
    target: float | None
    chance: list[float] | None
    prior: str


def forecast_run(
    points: Measurements,
    run: str,
    law: Law | None,
    options: Options,
    resources: Sequence[float] | Floats | None = None,
    target: float | None = None,
) -> RunForecast:
    """Forecasts a run from its own points so far and all other runs.

    Args:
        points: the table, the run included.
        run: its name, or an unambiguous beginning.
        law: the law behind the prior; None: `default_law` of the other runs.
        options: of its fit.
        resources: X to forecast at; None: from its last X to where the longest run of its size ended, at least 4 x.
        target: target loss.

    Raises:
        InputError: no such run, fewer than 3 points of it, an X that is not positive, or a target that is no loss.
    """
    index = _find(points, run)
    own, others = points.where(points.run == index), points.where(points.run != index)
    if len(own) < 3:
        raise InputError(f"run {points.runs[index]}: {len(own)} points, a forecast needs at least 3")
    if target is not None and not 0 < target < 1:
        raise InputError(f"--target-loss: expected a loss in (0, 1), found {target:g}")
    n = float(own.n[0])
    resource = _later_resources(own, points) if resources is None else np.asarray(resources, float)
    if not (resource > 0).all():
        raise InputError(f"--x: expected a positive number, found {resource.min():g}")
    center = float(own.x.mean())
    prior, source = _prior(others, n, center, law or default_law(others, [n], options), options)
    mean, covariance, noise = _posterior(own, center, prior)
    rng = np.random.default_rng([options.seed, 4])
    lines = rng.multivariate_normal(mean, covariance, size=options.draws, method="eigh")
    x = np.log10(resource)
    centered_x = x - center
    curve = lines[:, :1] + lines[:, 1:] * centered_x + _drift(rng, points, (own, others), x, options)
    measured = curve + rng.standard_normal(curve.shape) * noise
    expected = mean[0] + mean[1] * centered_x
    losses = [as_loss(interval(float(expected[i]), measured[:, i])) for i in range(len(x))]
    chance = None if target is None else [float(np.mean(curve[:, i] <= np.log10(target))) for i in range(len(x))]
    k = interval(float(-mean[1]), -lines[:, 1])
    return RunForecast(points.runs[index], n, len(own), k, resource.tolist(), losses, target, chance, source)


def _drift(
    rng: np.random.Generator,
    points: Measurements,
    parts: tuple[Measurements, Measurements],
    x: Floats,
    options: Options,
) -> Floats:
    """Departure from the straight line beyond what runs of this size have reached, one slope per draw [B, Q]."""
    own, others = parts
    errors = later_step_errors(points, LAWS["loglinear"], replace(options, objective="log"))
    if not errors:
        return np.zeros((options.draws, len(x)))
    same_size = others.x[others.n == own.n[0]]
    end = max(float(own.x.max()), float(same_size.max()) if len(same_size) else -np.inf)
    scale = float(np.sqrt(np.mean(np.square(errors))))
    return scale * rng.standard_t(max(len(errors), 3), size=options.draws)[:, None] * np.maximum(x - end, 0.0)


def _find(points: Measurements, run: str) -> int:
    matches = [i for i, name in enumerate(points.runs) if name == run]
    matches = matches or [i for i, name in enumerate(points.runs) if name.startswith(run)]
    if len(matches) != 1:
        raise InputError(f"run {run!r} matches {len(matches)} of the {len(points.runs)} runs; expected one")
    return matches[0]


def _later_resources(own: Measurements, points: Measurements) -> Floats:
    """Eight X beyond the run's last, evenly in log X."""
    last = float(own.resource.max())
    end = max(float(points.resource[points.n == own.n[0]].max()), 4.0 * last)
    return np.geomspace(last, end, 9)[1:]


def _prior(
    others: Measurements, n: float, center: float, law: Law, options: Options
) -> tuple[tuple[Floats, Floats] | None, str]:
    """Mean and covariance of (level at the centre, slope) of a new run of size n, and where they come from."""
    if len(others) == 0 or len(others.sizes) < law.minimum_sizes:
        return None, "none: no other runs that determine the law"
    if n not in others.sizes and not law.forecasts_unseen:
        return None, f"none: law {law.name} says nothing about N = {n:g}, which no other run has"
    fit = with_draws(fit_law(others, law, options))
    error = size_errors(others, law, options) if n not in others.sizes else ExtrapolationSpread()
    level, slope = _line_draws(fit, n, center, error)
    draws = np.stack([level, slope])
    moments = draws.mean(axis=1), np.asarray(np.cov(draws), dtype=np.float64)
    return moments, f"{law.name} on {len(others.runs)} other runs"


def _line_draws(fit: BootstrappedFit, n: float, center: float, error: ExtrapolationSpread) -> tuple[Floats, Floats]:
    """Draws of level and slope of a new run at size n: the law's curve about the centre, plus run-to-run effects."""
    h = 0.25
    forecast = predict(fit, [n, n], [center - h, center + h], error)
    lines = fit.lines
    nearest = int(np.argmin(np.abs(np.log10(fit.result.points.sizes) - np.log10(n))))
    rng = np.random.default_rng([fit.result.options.seed, 5])
    count = len(forecast.mean)
    slope_shift = rng.standard_normal(count) * lines.run_slope[nearest]
    shift = rng.standard_normal(count) * lines.run_level[nearest] + slope_shift * (center - lines.center[nearest])
    return forecast.mean.mean(axis=1) + shift, (forecast.mean[:, 1] - forecast.mean[:, 0]) / (2 * h) + slope_shift


def _posterior(own: Measurements, center: float, prior: tuple[Floats, Floats] | None) -> tuple[Floats, Floats, float]:
    """Posterior mean and covariance of (level, slope), and the standard deviation of one measured log10 L."""
    centered_x = own.x - center
    design = np.stack([np.ones(len(own)), centered_x], axis=1)
    line = line_statistics(own.x, own.y, np.ones(len(own)), np.zeros(len(own), dtype=np.int64), 1)
    ordinary = np.array([line.my[0], line.slope[0]])
    residual = own.y - design @ ordinary
    noise = float(np.sqrt(max(float(residual @ residual) / max(len(own) - 2, 1), 1e-12)))
    # Autocorrelated points tell less: their information is divided by the long-run ratio.
    information = design.T @ design / (noise**2 * max(long_run_ratio(residual), 1.0))
    if prior is None:
        return ordinary, np.asarray(np.linalg.pinv(information), dtype=np.float64), noise
    precision = np.linalg.pinv(prior[1])
    covariance: Floats = np.asarray(np.linalg.pinv(precision + information), dtype=np.float64)
    return covariance @ (precision @ prior[0] + information @ ordinary), covariance, noise
