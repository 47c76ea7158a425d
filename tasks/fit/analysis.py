"""Everything about one variant along one resource: all laws, draws, criteria, flags, back-tests, choice, forecasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from tasks.fit.data.measurements import Measurements
from tasks.fit.forecasting.forecast import predict, size_errors, warnings_of
from tasks.fit.forecasting.law_choice import choose_law, later_errors
from tasks.fit.forecasting.unseen import forecast_unseen
from tasks.fit.laws import LAWS, law_named
from tasks.fit.solver.estimate import Options, fit_law, require_enough
from tasks.fit.solver.parameters import LineParameters
from tasks.fit.uncertainty.inference import (
    BootstrappedFit,
    Interval,
    coefficient_intervals,
    interval,
    k_intervals,
    with_draws,
)
from tasks.fit.uncertainty.profile import profile_intervals
from tasks.fit.validation.backtest import backtests, windows
from tasks.fit.validation.flags import flags_of, rejection_of
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
class PrimaryAnalysis:
    """The law that is reported first, on one variant along one resource.

    Attributes:
        points: what was fitted.
        primary: the law, with draws.
        per_size: every size fitted alone, with draws; sizes with fewer than 3 points are not in it.
        record: the law's record.
        windows: the law fitted to parts of every trajectory.
        saturation: growth and saturation of k; None with fewer than 3 sizes, or a size with fewer than 3 points.
    """

    points: Measurements
    primary: BootstrappedFit
    per_size: BootstrappedFit | None
    record: FitRecord
    windows: list[WindowFit]
    saturation: SaturationTest | None


@dataclass(frozen=True)
class Analysis(PrimaryAnalysis):
    """All laws on one variant along one resource.

    Attributes:
        per_size: every size fitted alone, with draws.
        fits: one record per law, the primary one first.
        tests: back-tests of all laws.
        choice: the law for unseen sizes.
        forecasts: standard forecasts.
    """

    per_size: BootstrappedFit
    fits: list[FitRecord]
    tests: list[BackTest]
    choice: LawChoice
    forecasts: list[ForecastRecord]


def analyze_primary(points: Measurements, variant: str, law: str, options: Options) -> PrimaryAnalysis:
    """Fits one law, with draws, and tests whether k grows and saturates.

    Args:
        points: one variant along one resource.
        variant: its name.
        law: name of the law.
        options: of all fits.

    Raises:
        InputError: the law does not exist or cannot be fitted to these points.
    """
    primary = with_draws(fit_law(points, law_named(law), options))
    per_size = _fit_alone(points, options)
    result, saturation = primary.result, None
    if per_size is not None and len(per_size.result.points.sizes) == len(result.points.sizes) >= 3:
        saturating = primary if law == "saturating" else with_draws(fit_law(points, LAWS["saturating"], options))
        saturation = saturation_test(saturating, profile_intervals(saturating), variant)
    record = fit_record(primary, variant, per_size, primary=True)
    parts = windows(result.points, result.law, options, variant)
    return PrimaryAnalysis(points, primary, per_size, record, parts, saturation)


def _fit_alone(points: Measurements, options: Options) -> BootstrappedFit | None:
    """Every size with at least 3 points fitted alone, with draws; None without such a size."""
    enough = points.sizes[np.bincount(points.size) >= LAWS["loglinear"].minimum_points]
    if not len(enough):
        return None
    return with_draws(fit_law(points.where(np.isin(points.n, enough)), LAWS["loglinear"], options))


def fit_one(points: Measurements, variant: str, law: str, options: Options) -> FitRecord:
    """Fits one law, and every size alone, with draws; the record alone, without tests.

    Raises:
        InputError: the law cannot be fitted to these points.
    """
    per_size = _fit_alone(points, options)
    return fit_record(with_draws(fit_law(points, law_named(law), options)), variant, per_size, primary=True)


def analyze(points: Measurements, variant: str, primary: str, laws: Sequence[str], options: Options) -> Analysis:
    """Fits and compares laws.

    Args:
        points: one variant along one resource.
        variant: its name.
        primary: the law reported first.
        laws: the laws to compare; those the points cannot determine are left out.
        options: of all fits.

    Raises:
        InputError: the primary law cannot be fitted to these points, or a size has no line of its own, by which the
            study's claims are judged.
    """
    require_enough(points, LAWS["loglinear"])
    first = analyze_primary(points, variant, primary, options)
    fitted, per_size = first.primary.result.points, first.per_size
    assert per_size is not None, "every size has 3 points"
    fits, tests = [first.record], []
    for name in dict.fromkeys((primary, *laws)):
        if len(fitted.sizes) < LAWS[name].minimum_sizes:
            continue
        if name != primary:
            fit = with_draws(fit_law(points, LAWS[name], options))
            fits.append(fit_record(fit, variant, per_size, primary=False))
        tests += backtests(fitted, LAWS[name], options, variant)
    criteria = {fit.law: (fit.rmse_log, fit.aicc) for fit in fits}
    if rejected := rejection_of(primary, later_errors(fitted, options), criteria):
        fits[0] = replace(fits[0], flags=[rejected, *fits[0].flags])
    choice = choose_law(tests, variant, points.unit)
    forecasts = _standard_forecasts(first.primary, choice, variant)
    return Analysis(**vars(first) | {"per_size": per_size}, fits=fits, tests=tests, choice=choice, forecasts=forecasts)


def fit_record(fit: BootstrappedFit, variant: str, per_size: BootstrappedFit | None, primary: bool) -> FitRecord:
    """Turns a fit with draws into its record."""
    result = fit.result
    points, law = result.points, result.law
    profile = profile_intervals(fit)
    return FitRecord(
        variant=variant,
        resource=points.unit,
        law=law.name,
        equation=law.equation,
        primary=primary,
        points=len(points),
        runs=len(points.runs),
        coefficients={name: to_estimate(value) for name, value in coefficient_intervals(fit).items()},
        profile=profile,
        by_size=_by_size(fit, per_size),
        flags=flags_of(fit, profile, per_size),
        options=FitOptions(**vars(result.options), resampling_used=list(fit.lines.method)),
        **vars(quality(result)),
    )


def to_estimate(value: Interval) -> Estimate:
    """The 95 % interval of a record; an end that the data do not give is null."""
    low, high = (bound if np.isfinite(bound) else None for bound in (value.low95, value.high95))
    return Estimate(value.value, low, high)


def _by_size(fit: BootstrappedFit, per_size: BootstrappedFit | None) -> list[SizeSlope]:
    """k of every size under the law and alone, and its level where the law leaves levels free."""
    points, sizes = fit.result.points, fit.result.points.sizes
    k, alone = k_intervals(fit, sizes), {}
    if per_size is not None:
        fitted = per_size.result.points.sizes
        alone = dict(zip(fitted.tolist(), map(to_estimate, k_intervals(per_size, fitted)), strict=True))
    parameters, draws = fit.result.parameters, fit.draws
    levels = None
    if isinstance(parameters, LineParameters) and isinstance(draws, LineParameters) and parameters.law.free_levels:
        levels = [to_estimate(interval(float(parameters.levels[i]), draws.levels[:, i])) for i in range(len(sizes))]
    return [
        SizeSlope(
            n=float(size),
            size=points.label(size),
            k=to_estimate(k[i]),
            k_alone=alone.get(float(size)),
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
    error = size_errors(points, fit.result.law, fit.result.options)
    trials = None if points.trials is None else float(np.median(points.trials))
    loss = predict(fit, [n], [np.log10(resource)], error, trials=trials).loss(0)
    notes, n_factor, x_factor = warnings_of(points, n, resource, error)
    return ForecastRecord(
        variant=variant,
        resource=points.unit,
        law=fit.result.law.name,
        n=float(n),
        x=float(resource),
        seen_size=bool(np.isin(n, points.sizes)),
        loss=loss.value,
        low50=loss.low50,
        high50=loss.high50,
        low80=loss.low80,
        high80=loss.high80,
        low95=loss.low95,
        high95=loss.high95,
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
        rows.append(forecast_unseen(points, variant, 2 * largest, end))
    return rows
