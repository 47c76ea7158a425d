"""Everything about one variant along one resource: all laws, draws, criteria, flags, back-tests, choice, forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Measurements
from tasks.fit.forecasting.forecast import predict, size_errors, warnings_of
from tasks.fit.laws import LAWS, law_named
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.solver.parameters import LineParameters
from tasks.fit.uncertainty.inference import BootstrappedFit, Interval, interval, with_draws
from tasks.fit.uncertainty.profile import profile_intervals
from tasks.fit.validation.backtest import backtests, choose_law, windows
from tasks.fit.validation.fit_warnings import flags_of
from tasks.fit.validation.goodness_of_fit import quality
from tasks.fit.validation.saturation import saturation_test
from tasks.records.fits import (
    BackTest,
    Estimate,
    FitOptions,
    FitRecord,
    ForecastRecord,
    LawChoice,
    SaturationTest,
    SizeSlope,
    WindowFit,
)
from tasks.study.errors import InputError


@dataclass(frozen=True)
class Analysis:
    """Results for one variant along one resource.

    Attributes:
        points: what was fitted.
        primary: the primary law with draws.
        per_size: every size fitted alone, with draws.
        fits: one record per law.
        tests: back-tests of all laws.
        windows: window sensitivity of the primary law.
        saturation: growth and saturation of k; None with fewer than 3 sizes.
        choice: the law for unseen sizes.
        forecasts: standard forecasts.
    """

    points: Measurements
    primary: BootstrappedFit
    per_size: BootstrappedFit
    fits: list[FitRecord]
    tests: list[BackTest]
    windows: list[WindowFit]
    saturation: SaturationTest | None
    choice: LawChoice
    forecasts: list[ForecastRecord]


def analyze(points: Measurements, variant: str, primary: str, laws: Sequence[str], options: Options) -> Analysis:
    """Fits and compares laws.

    Args:
        points: one variant along one resource.
        variant: its name.
        primary: the law reported first.
        laws: the laws to compare; those the points cannot determine are left out.
        options: of all fits.

    Raises:
        InputError: the primary law cannot be fitted to these points.
    """
    alone = with_draws(fit_law(points, LAWS["loglinear"], options))
    first = with_draws(fit_law(points, law_named(primary), options))
    fits, tests = [fit_record(first, variant, alone, primary=True)], []
    for name in dict.fromkeys((primary, *laws)):
        if len(first.result.points.sizes) < LAWS[name].minimum_sizes:
            continue
        if name != primary:
            fits.append(fit_record(with_draws(fit_law(points, LAWS[name], options)), variant, alone, primary=False))
        tests += backtests(first.result.points, LAWS[name], options, variant)
    choice = choose_law(tests, variant, points.unit)
    test = None
    if len(first.result.points.sizes) >= 3:
        saturating = first if primary == "saturating" else with_draws(fit_law(points, LAWS["saturating"], options))
        test = saturation_test(saturating, profile_intervals(saturating), variant)
    rows = windows(first.result.points, first.result.law, options, variant)
    forecasts = _standard_forecasts(first, choice, variant)
    return Analysis(points, first, alone, fits, tests, rows, test, choice, forecasts)


def fit_record(fit: BootstrappedFit, variant: str, alone: BootstrappedFit, primary: bool) -> FitRecord:
    """Turns a fit with draws into its record."""
    result = fit.result
    points, law = result.points, result.law
    profile = profile_intervals(fit)
    scores = quality(result)
    drawn = fit.draws.coefficients()
    options = FitOptions(**vars(result.options), resampling_used=list(fit.lines.method))
    return FitRecord(
        variant=variant,
        resource=points.unit,
        law=law.name,
        equation=law.equation,
        primary=primary,
        points=len(points),
        runs=len(points.runs),
        coefficients={
            name: to_estimate(interval(float(value), drawn[name]))
            for name, value in result.parameters.coefficients().items()
        },
        profile=profile,
        by_size=_by_size(fit, alone),
        flags=flags_of(fit, profile),
        options=options,
        **vars(scores),
    )


def to_estimate(inside: Interval) -> Estimate:
    """The 95 % interval of a record."""
    return Estimate(inside.value, inside.low95, inside.high95)


def _by_size(fit: BootstrappedFit, alone: BootstrappedFit) -> list[SizeSlope]:
    result = fit.result
    points, sizes = result.points, result.points.sizes
    k, k_draws = result.parameters.k(sizes), fit.draws.k(sizes)
    own, own_draws = alone.result.parameters.k(sizes), alone.draws.k(sizes)
    state, draws = result.parameters, fit.draws
    levels = None
    if isinstance(state, LineParameters) and isinstance(draws, LineParameters) and state.law.free_levels:
        levels = [to_estimate(interval(float(state.levels[i]), draws.levels[:, i])) for i in range(len(sizes))]
    return [
        SizeSlope(
            n=float(size),
            size=points.label(size),
            k=to_estimate(interval(float(k[i]), k_draws[:, i])),
            k_alone=to_estimate(interval(float(own[i]), own_draws[:, i])),
            level=levels[i] if levels else None,
            runs=len(np.unique(points.run[points.size == i])),
            points=int((points.size == i).sum()),
        )
        for i, size in enumerate(sizes)
    ]


def forecast_at(fit: BootstrappedFit, variant: str, n: float, resource: float) -> ForecastRecord:
    """Predicted loss of one measurement of a new run at size n and resource X, with everything that is not known in it.

    Raises:
        InputError: the law has a free level per size and n was not fitted.
    """
    points = fit.result.points
    if not (n > 0 and resource > 0):
        raise InputError(f"forecast: N and X must be positive, found {n:g} and {resource:g}")
    seen = bool(np.isin(n, points.sizes))
    error = size_errors(points, fit.result.law, fit.result.options)
    trials = None if points.trials is None else float(np.median(points.trials))
    inside = predict(fit, [n], [np.log10(resource)], error, trials=trials).loss(0)
    notes, n_factor, x_factor = warnings_of(points, n, resource, error)
    return ForecastRecord(
        variant=variant,
        resource=points.unit,
        law=fit.result.law.name,
        n=float(n),
        x=float(resource),
        seen_size=seen,
        loss=inside.value,
        low50=inside.low50,
        high50=inside.high50,
        low80=inside.low80,
        high80=inside.high80,
        low95=inside.low95,
        high95=inside.high95,
        n_factor=n_factor,
        x_factor=x_factor,
        warnings=notes,
    )


def _standard_forecasts(primary: BootstrappedFit, choice: LawChoice, variant: str) -> list[ForecastRecord]:
    """The largest size at twice its resource, and a size twice as large at the largest size's resource."""
    points = primary.result.points
    largest = float(points.sizes[-1])
    end = float(points.resource[points.n == largest].max())
    rows = [forecast_at(primary, variant, largest, 2 * end)]
    if choice.chosen is not None:
        unseen = with_draws(fit_law(points, LAWS[choice.chosen], primary.result.options))
        rows.append(forecast_at(unseen, variant, 2 * largest, end))
    return rows
