"""Held-out error: what a law would have forecast for points that its fit never saw.

Every test cuts the points first and hands only the training part to the fit, to its draws and to the law error; the
held-out losses meet the forecast at the very end, in `_scored`. The one exception is named and marked: laws with a free
level per size cannot forecast a new size, so their level is refitted on it, as the published study does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tasks.fit.data.averaging import thinned
from tasks.fit.data.measurements import Mask, Measurements
from tasks.fit.forecasting.forecast import ErrorCache, Prediction, predict, run_fraction, size_errors
from tasks.fit.forecasting.law_choice import best_for_unseen
from tasks.fit.laws import LAWS, Law
from tasks.fit.laws.forms import LineLaw
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.solver.parameters import LineParameters
from tasks.fit.uncertainty.inference import BootstrappedFit, with_draws
from tasks.fit.validation.goodness_of_fit import r_squared
from tasks.records.fits import BackTest, LawChoice, WindowFit

# Draws of a back-test, and how many held-out points of a large table are scored.
_DRAWS, _MOST_SCORED = 500, 4000
_WINDOWS = ((0.0, 0.25), (0.0, 0.5), (0.0, 0.75), (0.0, 1.0), (0.1, 1.0), (0.25, 1.0), (0.5, 1.0))


def backtests(points: Measurements, law: Law, options: Options, variant: str) -> list[BackTest]:
    """All tests a law can take.

    Args:
        points: one variant along one resource.
        law: the law.
        options: of the fits.
        variant: goes into the records.
    """
    cache: ErrorCache = {}
    options = replace(options, draws=min(options.draws, _DRAWS))
    return [_test(points, law, options, (variant, kind, cache), held_out) for kind, held_out in _cuts(points, law)]


def _cuts(points: Measurements, law: Law) -> Iterator[tuple[str, Mask]]:
    """Kind and mask of held-out points (True) of every test; next_size also leaves out all larger sizes."""
    sizes = points.sizes
    has_slope = isinstance(law, LineLaw) and law.k_of_unseen
    if (law.forecasts_unseen or has_slope) and len(sizes) > max(law.minimum_sizes, 2):
        yield "largest_out", points.n == sizes[-1]
        for index in range(max(law.minimum_sizes, 3), len(sizes)):
            yield "next_size", points.n == sizes[index]
        for size in sizes:
            yield "size_out", points.n == size
    yield from _cuts_later(points)


def _cuts_later(points: Measurements) -> Iterator[tuple[str, Mask]]:
    """The last half and the last three quarters of every trajectory, where enough points are left to fit."""
    fraction = run_fraction(points)
    for kind, cut in (("last_50", 0.5), ("last_75", 0.25)):
        if np.bincount(points.size[fraction <= cut], minlength=len(points.sizes)).min() >= 5:
            yield kind, fraction > cut


def later_step_tests(points: Measurements, law: Law, options: Options, variant: str) -> list[BackTest]:
    """The trajectory tests alone."""
    options = replace(options, draws=min(options.draws, _DRAWS))
    return [_test(points, law, options, (variant, kind, {}), held_out) for kind, held_out in _cuts_later(points)]


def _test(
    points: Measurements, law: Law, options: Options, context: tuple[str, str, ErrorCache], held_out: Mask
) -> BackTest:
    """One back-test: fits the training part, forecasts the held-out points, scores them."""
    variant, kind, cache = context
    test = thinned(points.where(held_out), _MOST_SCORED)
    train = points.where(points.n < test.n[0] if kind == "next_size" else ~held_out)
    fit = with_draws(fit_law(train, law, options))
    between = train.sizes[0] < test.n[0] < train.sizes[-1]
    error = size_errors(train, law, options, bool(between), cache)
    refitted = test.n[0] not in train.sizes and not law.forecasts_unseen
    if refitted:
        fit = _with_level(fit, test)
    forecast = predict(fit, test.n, test.x, error, trials=test.trials)
    name = "all" if kind.startswith("last") else points.label(float(test.n[0]))
    return _scored(test, forecast, BackTest(variant, points.unit, law.name, kind, name, refitted, 0, 0, 0, None, {}))


def _with_level(fit: BootstrappedFit, test: Measurements) -> BootstrappedFit:
    """The published way: the level of the held-out size from its own points."""
    result, draws = fit.result, fit.draws
    assert isinstance(result.parameters, LineParameters)
    assert isinstance(draws, LineParameters)
    size = float(test.n[0])
    return replace(
        fit,
        result=replace(result, parameters=result.parameters.with_refitted_level(size, test.x, test.y)),
        draws=draws.with_refitted_level(size, test.x, test.y),
    )


def _scored(test: Measurements, forecast: Prediction, record: BackTest) -> BackTest:
    """A back-test's record with its errors filled in.

    RMSE and bias of forecast minus measured log10 L, R2 in L, and the fractions of points inside the central 50, 80 and
    95 % of the draws of a measurement; the point of largest X where one size is held out.
    """
    error = forecast.center - test.y
    coverage = {}
    for level in (0.5, 0.8, 0.95):
        low, high = np.quantile(forecast.measured, [(1 - level) / 2, (1 + level) / 2], axis=0)
        coverage[f"{100 * level:.0f}"] = float(np.mean((low <= test.y) & (test.y <= high)))
    record = replace(
        record,
        points=len(test),
        rmse_log=float(np.sqrt(np.mean(error**2))),
        bias_log=float(error.mean()),
        r2_linear=r_squared(test.loss, 10.0**forecast.center),
        coverage=coverage,
    )
    if record.kind.startswith("last"):
        return record
    last = int(np.argmax(test.x))
    loss = forecast.loss(last)
    return replace(
        record,
        last_measured=float(test.loss[last]),
        last_forecast=loss.value,
        last_low=loss.low95,
        last_high=loss.high95,
    )


def held_out_largest(points: Measurements, options: Options, variant: str) -> tuple[LawChoice | None, BackTest | None]:
    """Forecasts the largest size by the law that the smaller sizes pick among themselves; nothing is refitted.

    Returns:
        The choice, made without the largest size, and the forecast's score; None where there are too few sizes.
    """
    largest = points.sizes[-1]
    choice = best_for_unseen(points.where(points.n < largest), options, variant)
    if choice is None or choice.chosen is None:
        return None, None
    return choice, held_out_of(points, LAWS[choice.chosen], options, variant)


def held_out_of(points: Measurements, law: Law, options: Options, variant: str) -> BackTest:
    """A law's forecast of the largest size from the others (its level refitted where the law has free levels)."""
    fewer = replace(options, draws=min(options.draws, _DRAWS))
    return _test(points, law, fewer, (variant, "largest_out", {}), points.n == points.sizes[-1])


def windows(points: Measurements, law: Law, options: Options, variant: str) -> list[WindowFit]:
    """How much the law's numbers depend on the part of the trajectories it is fitted to."""
    fraction, rows = run_fraction(points), []
    for start, end in _WINDOWS:
        part = points.where((fraction > start) & (fraction <= end))
        counts = np.bincount(part.size, minlength=len(part.sizes)) if len(part) else np.zeros(1)
        if len(part.sizes) < len(points.sizes) or counts.min() < 5:
            continue
        result = fit_law(part, law, options)
        named = {name: float(value) for name, value in result.parameters.coefficients().items()}
        rmse = float(np.sqrt(np.mean(result.residual**2)))
        k = float(result.parameters.k([part.sizes[-1]])[0])
        label = f"{100 * start:.0f}-{100 * end:.0f} %"
        rows.append(WindowFit(variant, points.unit, law.name, label, len(part), dict(named), k, rmse))
    return rows
