"""From draws of lines to draws of a law's numbers, and from those to intervals.

Line laws are solved again, exactly, for every draw. Curve laws take one Gauss-Newton step from their optimum towards
the perturbed data, which is right to first order in the perturbation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.laws.forms import LineLaw
from tasks.fit.solver.estimate import FitResult
from tasks.fit.solver.line_statistics import LineStatistics, line_statistics
from tasks.fit.solver.parameters import CurveParameters, LineParameters, Parameters
from tasks.fit.solver.variable_projection import variable_projection
from tasks.fit.uncertainty.blocks import block_scores
from tasks.fit.uncertainty.bootstrap import LineDraws, draw_lines

_FARTHEST = 3.0


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
    lines = draw_lines(points, result.response, result.weight, options.draws, options.seed, options.resampling)
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
    for run in np.unique(points.run[rows]):
        of_run = points.run[rows] == run
        right += block_scores(x[of_run], residual[of_run], weight[of_run], off_line[of_run], rng, len(right))
    # A ridge of 1e-6 keeps directions the data say nothing about from exploding; it is far below what they do say.
    matrix = jacobian.T @ (weight[:, None] * jacobian) + 1e-6 * np.eye(len(scale))
    # A transformed parameter far out in its tail (a floor at 0) has no first order to speak of: steps are limited.
    return np.clip(np.linalg.solve(matrix, right.T).T / scale, -_FARTHEST, _FARTHEST)


def interval(value: float, draws: Floats) -> Interval:
    """Percentile intervals of finite draws [B] about a value."""
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return Interval(value, *([float("nan")] * 6))
    return Interval(value, *(float(q) for q in np.quantile(finite, [0.025, 0.1, 0.25, 0.75, 0.9, 0.975])))


def coefficient_intervals(fit: BootstrappedFit) -> dict[str, Interval]:
    """Intervals of the named coefficients."""
    draws = fit.draws.coefficients()
    return {name: interval(float(v), draws[name]) for name, v in fit.result.parameters.coefficients().items()}


def k_intervals(fit: BootstrappedFit, n: Floats) -> list[Interval]:
    """Intervals of k at each n [Q]."""
    values, draws = fit.result.parameters.k(n), fit.draws.k(n)
    return [interval(float(value), draws[:, index]) for index, value in enumerate(values)]
