"""From draws of lines to draws of a law's numbers, and from those to intervals.

Line laws are solved again, exactly, for every draw. Curve laws take one Gauss-Newton step from their optimum towards
the perturbed data, which is right to first order in the perturbation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.laws.forms import CurveLaw, LineLaw
from tasks.fit.solver.estimate import FitResult
from tasks.fit.solver.line_statistics import LineStatistics, line_statistics
from tasks.fit.solver.parameters import CurveParameters, LineParameters, Parameters
from tasks.fit.solver.variable_projection import variable_projection
from tasks.fit.uncertainty.blocks import block_scores
from tasks.fit.uncertainty.bootstrap import LineDraws, draw_lines, rows_of, with_pooled_noise
from tasks.fit.uncertainty.run_lines import series_of
from tasks.fit.uncertainty.size_scatter import with_size_scatter

_FARTHEST = 3.0
# Stands for infinity among draws, so that quantiles between it and a number exist.
_BEYOND = 1e290


@dataclass(frozen=True)
class Interval:
    """A value with its central 50, 80 and 95 % intervals."""

    value: float
    low95: float
    low80: float
    low50: float
    high50: float
    high80: float
    high95: float


@dataclass(frozen=True)
class BootstrappedFit:
    """A fit with draws of its numbers: `draws.predict(...)` has a leading axis of draws."""

    result: FitResult
    lines: LineDraws
    draws: Parameters


def with_draws(result: FitResult) -> BootstrappedFit:
    """Adds bootstrap draws, as many and seeded as the fit's options say."""
    options, points = result.options, result.points
    straight = isinstance(result.law, LineLaw)
    curve = None if straight else result.eta
    lines = draw_lines(points, result.response, result.weight, options.draws, options.seed, options.resampling, curve)
    lines = with_pooled_noise(lines, result, np.random.default_rng([options.seed, 2]))
    lines = with_size_scatter(result, lines)
    if isinstance(result.law, LineLaw):
        base = line_statistics(points.x, result.response, result.weight, points.size, len(points.sizes))
        shifted = base.shifted(lines.level, lines.slope)
        return BootstrappedFit(result, lines, _line_draws(result.law, shifted, points.sizes))
    return BootstrappedFit(result, lines, _curve_draws(result, lines))


def _line_draws(law: LineLaw, shifted: LineStatistics, sizes: Floats) -> LineParameters:
    full = LineStatistics(*(np.broadcast_to(value, shifted.my.shape) for value in vars(shifted).values()))
    return LineParameters.of(law, sizes, full, variable_projection(law, full, sizes))


def _curve_draws(result: FitResult, lines: LineDraws) -> CurveParameters:
    """Perturbs levels and slopes as the draws say, and what is left of each run's residuals by moving blocks."""
    state, points = result.parameters, result.points
    assert isinstance(state, CurveParameters)
    rng = np.random.default_rng([result.options.seed, 1])
    if not state.law.per_size:
        return replace(state, p=state.p + _steps(result, state.p, np.arange(len(points)), lines, rng))
    groups = [np.flatnonzero(points.size == index) for index in range(len(points.sizes))]
    steps = [_steps(result, state.p[index], rows, lines, rng) for index, rows in enumerate(groups)]
    return replace(state, p=state.p + np.stack(steps, axis=1))


def _steps(result: FitResult, p: Floats, rows: np.ndarray, lines: LineDraws, rng: np.random.Generator) -> Floats:
    """One Gauss-Newton step per draw [B, J]: (J'WJ)^-1 J'W dz, dz = level + slope (x - center) + block noise."""
    state, points = result.parameters, result.points
    assert isinstance(state, CurveParameters)
    size, x, weight = points.size[rows], points.x[rows], result.weight[rows]
    jacobian = state.law.jacobian(p, np.log10(points.n[rows]), x)
    scale = np.sqrt(np.maximum(np.einsum("pj,p,pj->j", jacobian, weight, jacobian), 1e-300))
    jacobian = jacobian / scale
    right, off_line = np.zeros((len(lines.level), jacobian.shape[1])), jacobian.copy()
    residual = result.residual_working[rows]
    for index in np.unique(size):
        of_size = size == index
        line = np.stack([np.ones(of_size.sum()), x[of_size] - lines.center[index]], axis=1)
        onto = line.T @ (weight[of_size, None] * jacobian[of_size])
        right += np.stack([lines.level[:, index], lines.slope[:, index]], axis=1) @ onto
        inverse = np.linalg.pinv(line.T @ (weight[of_size, None] * line))
        off_line[of_size] -= line @ (inverse @ onto)
    for own in rows_of(series_of(points)[rows]):
        drawn = block_scores(x[own], residual[own], weight[own], off_line[own], rng, len(right))
        right += lines.tails[:, None] * drawn
    # A ridge of 1e-6 keeps directions the data say nothing about from exploding; it is far below what they do say.
    matrix = jacobian.T @ (weight[:, None] * jacobian) + 1e-6 * np.eye(len(scale))
    # A transformed parameter far out in its tail (a floor at 0) has no first order to speak of: steps are limited.
    return np.clip(np.linalg.solve(matrix, right.T).T / scale, -_FARTHEST, _FARTHEST)


def interval(value: float, draws: Floats) -> Interval:
    """Percentile intervals of draws [B] about a value; an infinite end is one that the data do not give."""
    known = np.clip(draws[~np.isnan(draws)], -_BEYOND, _BEYOND)
    if not len(known):
        return Interval(value, *([float("nan")] * 6))
    ends = np.quantile(known, [0.025, 0.1, 0.25, 0.75, 0.9, 0.975])
    return Interval(value, *(float(q) if abs(q) < _BEYOND / 1e9 else float(np.copysign(np.inf, q)) for q in ends))


def coefficient_intervals(fit: BootstrappedFit) -> dict[str, Interval]:
    """Intervals of the named coefficients, open where draws end at a bound of the search instead of at the data."""
    draws = _open_line_draws(fit.draws) if isinstance(fit.draws, LineParameters) else _open_curve_draws(fit)
    return {name: interval(float(v), draws[name]) for name, v in fit.result.parameters.coefficients().items()}


def _open_line_draws(draws: LineParameters) -> dict[str, Floats]:
    """Coefficients [B], infinite in draws whose theta stopped at an end of its search and that go on with it."""
    named = draws.coefficients()
    if draws.law.search is None:
        return named
    grid = draws.law.search(draws.sizes)
    edge = 1e-6 * (grid[-1] - grid[0])
    for ended, step in ((draws.theta - grid[0] < edge, -1.0), (grid[-1] - draws.theta < edge, 1.0)):
        named = _opened(named, replace(draws, theta=draws.theta + step).coefficients(), ended)
    return named


def _open_curve_draws(fit: BootstrappedFit) -> dict[str, Floats]:
    """Coefficients [B], infinite in draws of which a transformed parameter went as far as steps may go."""
    draws, center = fit.draws, fit.result.parameters
    assert isinstance(draws, CurveParameters)
    assert isinstance(center, CurveParameters)
    named, moved = draws.coefficients(), draws.p - center.p
    for index in range(moved.shape[-1]):
        for step in (-1.0, 1.0):
            ended = step * moved[..., index] >= _FARTHEST * (1 - 1e-9)
            further = draws.p + step * (np.arange(moved.shape[-1]) == index)
            named = _opened(named, replace(draws, p=further).coefficients(), ended)
    # A share so near 0 that the curve no longer feels it does not move at all.
    return {n: np.where(_exact(fit, n) | (np.ptp(v) == 0), np.nan, v) for n, v in named.items()}


def _exact(fit: BootstrappedFit, name: str) -> bool:
    """Whether a curve passes through the points behind this coefficient whatever they are: as many parameters."""
    points, law = fit.result.points, fit.result.law
    assert isinstance(law, CurveLaw)
    behind = int((points.size == _size_index(name)).sum()) if law.per_size else len(points)
    return behind <= len(law.names)


def _size_index(name: str) -> int:
    """Index of the size of a coefficient of a law fitted to each size alone: name[index]."""
    return int(name.rsplit("[", 1)[1][:-1])


def _opened(named: dict[str, Floats], further: dict[str, Floats], ended: np.ndarray) -> dict[str, Floats]:
    """Coefficients with infinity where the search ended, in the direction in which they would have gone further.

    `ended` is [B], or [B, S] for laws fitted to each size alone.
    """
    out = {}
    for name, values in named.items():
        where = ended if ended.ndim == 1 else ended[:, _size_index(name)]
        change = further[name] - values
        goes_on = where & (np.abs(change) > 0.01 * np.abs(values))
        out[name] = np.where(goes_on, np.copysign(np.inf, change), values)
    return out


def k_intervals(fit: BootstrappedFit, n: Floats) -> list[Interval]:
    """Intervals of k at each n [Q]."""
    values, draws = fit.result.parameters.k(n), fit.draws.k(n)
    return [interval(float(value), draws[:, index]) for index, value in enumerate(values)]
