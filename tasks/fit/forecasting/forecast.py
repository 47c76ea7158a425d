"""Predicted loss at any N and X, as draws that hold five kinds of ignorance.

- parameter: the fit's bootstrap draws;
- law, for X beyond a trajectory's end: an error that grows in proportion to the distance in log X, Student-t with what
  this very law got wrong, per decade and size, when it saw only the first half of every trajectory. Where no size has
  points enough to tell, half of the law's own slope is taken for it, and the forecast says so;
- law, for a size that was not fitted: a common shift of log10 L, Student-t with the root mean square of the errors this
  very law made when each larger size (each inner size, for N inside the range) was forecast from the others. It grows
  with the distance in log N beyond the largest size, in units of the usual step between sizes. This is the part that
  resampling runs cannot see;
- run-to-run: the spread of single runs about their size's mean;
- evaluation: the scatter of one measured loss, binomial where the number of graded answers is known, else as observed.

`mean` draws hold parameter and law (where the curve lies), `measured` draws all of it (what one run would report).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.laws import Law
from tasks.fit.laws.forms import LN10
from tasks.fit.solver.estimate import FitResult, Options, fit_law
from tasks.fit.uncertainty.inference import BootstrappedFit, Interval, interval


@dataclass(frozen=True)
class ExtrapolationSpread:
    """Errors of a law's forecasts of points that it was not fitted to, in log10 L.

    Attributes:
        larger_sizes: root mean square error on each larger size, from the smaller ones.
        inner_sizes: root mean square error on each inner size, from the others.
        later_steps: error per decade of X beyond the fitted part, by size.
    """

    larger_sizes: tuple[float, ...] = ()
    inner_sizes: tuple[float, ...] = ()
    later_steps: tuple[float, ...] = ()

    def scale(self, n: float, sizes: Floats) -> tuple[float, int]:
        """Root mean square error to expect at an unseen size, and its degrees of freedom; (0, 0) where unknown."""
        outside = n > sizes[-1] or n < sizes[0]
        errors = self.larger_sizes if outside and self.larger_sizes else (self.inner_sizes or self.larger_sizes)
        if not errors:
            return 0.0, 0
        step = float(np.diff(np.log10(sizes)).mean())
        distance = max(np.log10(n / sizes[-1]), np.log10(sizes[0] / n), 0.0) / step
        return float(np.sqrt(np.mean(np.square(errors)))) * max(distance, 1.0), len(errors)


_ASSUMED_DRIFT, _ASSUMED_DOF = 0.5, 3
ErrorCache = dict[tuple[tuple[float, ...], float], float]


def size_errors(
    points: Measurements, law: Law, options: Options, inner: bool = True, cache: ErrorCache | None = None
) -> ExtrapolationSpread:
    """Forecasts each larger size from the smaller ones, and each inner size from the others, by refitting.

    Only `points` are used: hand in training points and nothing held out enters.

    Args:
        points: what the law is fitted to.
        law: the law.
        options: of the fits.
        inner: whether to forecast the inner sizes too; forecasts beyond the data do not need them.
        cache: errors by (sizes fitted, size forecast), filled here. Callers share one between subsets of the same
            points that are cut along whole sizes, for one law and one set of options.
    """
    sizes, start = points.sizes, max(law.minimum_sizes, 3)
    later_steps = later_step_errors(points, law, options)
    if not law.forecasts_unseen:
        return ExtrapolationSpread(later_steps=later_steps)
    cache = {} if cache is None else cache

    def error_at(train: np.ndarray, size: float) -> float:
        part = points.where(train)
        key = (tuple(part.sizes.tolist()), float(size))
        if key not in cache:
            test = points.where(points.n == size)
            error = fit_law(part, law, options).parameters.predict(test.n, test.x) - test.y
            cache[key] = float(np.sqrt(np.mean(error**2)))
        return cache[key]

    below = [(points.n < sizes[i], sizes[i]) for i in range(start, len(sizes))]
    others = [(points.n != size, size) for size in sizes[1:-1]] if inner and len(sizes) > start else []

    def errors(cuts: list[tuple[np.ndarray, float]]) -> tuple[float, ...]:
        """Of the cuts that leave more points than the law has parameters."""
        determined = (cut for cut in cuts if cut[0].sum() > law.parameters(len(np.unique(points.n[cut[0]]))))
        return tuple(error_at(*cut) for cut in determined)

    return ExtrapolationSpread(errors(below), errors(others), later_steps)


def run_fraction(points: Measurements) -> Floats:
    """Fraction of its run that each point has behind it, by step: (0, 1] [P]."""
    last = np.zeros(len(points.runs))
    np.maximum.at(last, points.run, points.step)
    return points.step / last[points.run]


def later_step_errors(points: Measurements, law: Law, options: Options) -> tuple[float, ...]:
    """Fits the first half of every trajectory and scores its last quarter: mean error per decade beyond, by size.

    Sizes with fewer than 5 points in their first half are left out; empty where too few sizes remain for the law.
    """
    counts = np.bincount(points.size[run_fraction(points) <= 0.5], minlength=len(points.sizes))
    long = counts >= 5
    if long.sum() < max(law.minimum_sizes, 1):
        return ()
    points = points.where(long[points.size])
    fraction = run_fraction(points)
    half = fraction <= 0.5
    result = fit_law(points.where(half), law, replace(options, skip_steps=0))
    late = points.where(fraction > 0.75)
    errors = result.parameters.predict(late.n, late.x) - late.y
    out = []
    for index, size in enumerate(points.sizes):
        of_size = late.n == size
        end = points.x[half & (points.size == index)].max()
        distance = float(late.x[of_size].mean() - end)
        if distance > 0:
            out.append(float(errors[of_size].mean()) / distance)
    return tuple(out)


@dataclass(frozen=True)
class Prediction:
    """Draws of log10 L at Q pairs of N and X [B, Q]; `center` is the optimum's value [Q]."""

    center: Floats
    mean: Floats
    measured: Floats

    def loss(self, index: int, kind: str = "measured") -> Interval:
        """Interval of the loss at one of them, of its `mean` or of what is `measured`."""
        return as_loss(interval(float(self.center[index]), getattr(self, kind)[:, index]))


def as_loss(log_loss: Interval) -> Interval:
    """The interval of L, at most 1, from that of log10 L."""
    return Interval(*(float(min(10.0**value, 1.0)) for value in vars(log_loss).values()))


def predict(
    fit: BootstrappedFit, n: ArrayLike, x: ArrayLike, spread: ExtrapolationSpread, trials: ArrayLike | None = None
) -> Prediction:
    """Draws of the loss at sizes n and x = log10 X, both [Q].

    Args:
        fit: a fit with draws.
        n: sizes.
        x: log10 of the resource.
        spread: what `size_errors` found on the same points.
        trials: graded answers of the measurement to be predicted [Q] or one number; None: scatter as observed.
    """
    n, x = np.atleast_1d(np.asarray(n, float)), np.atleast_1d(np.asarray(x, float))
    points, options = fit.result.points, fit.result.options
    rng = np.random.default_rng([options.seed, 2])
    center = fit.result.parameters.predict(n, x)
    mean = fit.draws.predict(n, x) + law_shift(rng, n, points.sizes, spread, options.draws)
    mean = mean + _drift(rng, n, x, fit, spread)
    nearest = np.argmin(np.abs(np.log10(n)[:, None] - np.log10(points.sizes)), axis=1)
    lines = fit.lines
    level = rng.standard_normal((options.draws, len(points.sizes))) * lines.run_level
    slope = rng.standard_normal((options.draws, len(points.sizes))) * lines.run_slope
    run = level[:, nearest] + slope[:, nearest] * (x - lines.center[nearest])
    noise = _scatter(fit.result, nearest, center, trials)
    return Prediction(center, mean, mean + run + rng.standard_normal(mean.shape) * noise)


def law_shift(rng: np.random.Generator, n: Floats, sizes: Floats, law_error: ExtrapolationSpread, draws: int) -> Floats:
    """One shift per draw and distinct unseen size, 0 for fitted sizes [B, Q]."""
    shift = np.zeros((draws, len(n)))
    for size in np.unique(n):
        if size in sizes:
            continue
        scale, dof = law_error.scale(float(size), sizes)
        if dof:
            shift[:, n == size] = (scale * rng.standard_t(dof, size=draws))[:, None]
    return shift


def _drift(
    rng: np.random.Generator, n: Floats, x: Floats, fit: BootstrappedFit, law_error: ExtrapolationSpread
) -> Floats:
    """Error in proportion to the decades beyond the end of the trajectories; one slope per draw and size [B, Q]."""
    draws = fit.result.options.draws
    drift = np.zeros((draws, len(n)))
    for size in np.unique(n):
        of_size = n == size
        scale, dof, end = drift_errors(size, fit, law_error)
        beyond = np.maximum(x[of_size] - end, 0.0)
        if beyond.any():
            drift[:, of_size] = scale * rng.standard_t(dof, size=draws)[:, None] * beyond
    return drift


def drift_errors(size: float, fit: BootstrappedFit, law_error: ExtrapolationSpread) -> tuple[float, int, float]:
    """Scale and degrees of freedom of a size's error per decade beyond its trajectories, and their end, log10 X."""
    points, errors = fit.result.points, law_error.later_steps
    ends = points.x[points.n == size] if size in points.sizes else points.x
    if errors:
        return float(np.sqrt(np.mean(np.square(errors)))), len(errors), float(ends.max())
    return _ASSUMED_DRIFT * abs(float(fit.result.parameters.k([size])[0])), _ASSUMED_DOF, float(ends.max())


def _scatter(result: FitResult, nearest: np.ndarray, center: Floats, trials: ArrayLike | None) -> Floats:
    """Standard deviation of one measured log10 L [Q]: binomial from trials, at least what the fit's residuals show."""
    sizes = len(result.points.sizes)
    squares = np.bincount(result.points.size, weights=result.residual**2, minlength=sizes)
    observed = np.sqrt(squares / np.bincount(result.points.size, minlength=sizes))[nearest]
    if trials is None:
        return observed
    loss = np.clip(10.0**center, 1e-6, 1.0)
    return np.sqrt((1.0 - loss) / (loss * np.asarray(trials, float))) / LN10


def warnings_of(
    points: Measurements, n: float, resource: float, law_error: ExtrapolationSpread
) -> tuple[list[str], float, float]:
    """Sentences about extrapolation, and by what factor N and X lie outside the data (1 inside).

    Args:
        points: what was fitted.
        n: size of the forecast.
        resource: X of the forecast.
        law_error: of the law used.
    """
    notes, n_factor, x_factor = extrapolation(points, n, resource)
    if n not in points.sizes and law_error.scale(n, points.sizes)[1] == 0:
        notes.append("the law's error on unseen sizes is unknown (too few sizes) and not in the intervals")
    if x_factor > 1.0 and resource > points.resource.max() and not law_error.later_steps:
        notes.append(
            "no size has the 10 points that would show the law's error ahead in X: half of its slope is assumed"
        )
    return notes, n_factor, x_factor


def extrapolation(points: Measurements, n: float, resource: float) -> tuple[list[str], float, float]:
    """Sentences about N and X outside the data, and the factors by which they are (1 inside)."""
    notes, factors = [], []
    for name, value, seen in (("N", n, points.n), (f"X ({points.unit})", resource, points.resource)):
        low, high = float(seen.min()), float(seen.max())
        factor = max(value / high, low / value, 1.0)
        factors.append(factor)
        if factor > 1.0:
            side = f"above the largest, {high:.3g}" if value > high else f"below the smallest, {low:.3g}"
            notes.append(f"{name} = {value:.3g} lies a factor {factor:.3g} {side}")
    return notes, factors[0], factors[1]
