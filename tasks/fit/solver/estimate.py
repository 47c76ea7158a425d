"""Fits one law to one set of points: `fit_law`.

Line laws: exact projection inside an iteration over working weights (one pass for squared error in log L, which needs
no iteration). Curve laws: the same start-to-finish for every size or all of them, by `levenberg_marquardt`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from tasks.fit.data.averaging import FEW_ROWS, averaged
from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.laws.forms import CurveLaw, LineLaw
from tasks.fit.solver.levenberg_marquardt import Curve, levenberg_marquardt
from tasks.fit.solver.line_statistics import LineStatistics, line_statistics
from tasks.fit.solver.objectives import contributions, require_objective, robust_scale, working
from tasks.fit.solver.parameters import CurveParameters, LineParameters, Parameters
from tasks.fit.solver.variable_projection import line_coefficients, variable_projection
from tasks.study.errors import InputError


@dataclass(frozen=True)
class Options:
    """How a fit is done; recorded with every result.

    Attributes:
        objective: log, linear, binomial or huber.
        skip_steps: warm-up clipping, points with step <= this are left out.
        equal_weight: give every size the same total weight instead of every point.
        draws: bootstrap draws.
        seed: seed of the draws.
        resampling: auto, effects, runs or blocks, see `tasks.fit.uncertainty.bootstrap`.
    """

    objective: str = "log"
    skip_steps: int = 0
    equal_weight: bool = False
    draws: int = 2000
    seed: int = 0
    resampling: str = "auto"


@dataclass(frozen=True)
class FitResult:
    """An optimum with what its uncertainty needs.

    Attributes:
        law: the law.
        points: the points that entered.
        options: how it was fitted.
        parameters: the numbers.
        value: the objective at the optimum.
        eta: fitted log10 L [P].
        weight: working weights at the optimum [P].
        response: working response at the optimum [P]; y itself for squared error in log L.
        at_bound: whether the non-linear parameter lies at an end of its range.
    """

    law: LineLaw | CurveLaw
    points: Measurements
    options: Options
    parameters: Parameters
    value: float
    eta: Floats
    weight: Floats
    response: Floats
    at_bound: bool = False
    lines: LineStatistics | None = field(default=None, repr=False)

    @property
    def residual(self) -> Floats:
        """y - eta [P]."""
        return self.points.y - self.eta

    @property
    def residual_working(self) -> Floats:
        """Working response minus eta [P]; its variance is about proportional to 1 / weight."""
        return self.response - self.eta


def fit_law(points: Measurements, law: LineLaw | CurveLaw, options: Options | None = None) -> FitResult:
    """Fits a law.

    Args:
        points: what was measured.
        law: one of `tasks.fit.laws`.
        options: objective, clipping, weights.

    Raises:
        InputError: too few sizes or points for the law, or an objective the points do not support.
    """
    options = options or Options()
    require_objective(options.objective, points)
    if options.skip_steps:
        points = points.where(points.step > options.skip_steps)
    require_enough(points, law)
    if isinstance(law, LineLaw):
        return _fit_line(points, law, options)
    return _fit_curve(points, law, options)


def require_enough(points: Measurements, law: LineLaw | CurveLaw) -> None:
    """Refuses points that cannot determine the law.

    Raises:
        InputError: a size with fewer points than the law takes, fewer sizes than it needs, or no more points in all
            than a law that all sizes share has parameters.
    """
    found, needed = len(points.sizes), law.parameters(len(points.sizes))
    if found < law.minimum_sizes:
        one = "; --law loglinear fits each size alone" if found == 1 else ""
        raise InputError(f"law {law.name} needs at least {law.minimum_sizes} sizes, found {found}{one}")
    counts = np.bincount(points.size)
    if counts.min() < law.minimum_points:
        size = points.label(points.sizes[int(np.argmin(counts))])
        raise InputError(f"size {size} has {counts.min()} points, expected at least {law.minimum_points}")
    if law.minimum_points == 1 and len(points) <= needed:
        raise InputError(f"law {law.name} has {needed} parameters, found no more than {len(points)} points")


def point_weights(points: Measurements, equal: bool) -> Floats:
    """The rows behind every point, or weights that give every size the same total and sum to their number."""
    rows = np.ones(len(points)) if points.count is None else points.count
    if not equal:
        return rows
    counts = np.bincount(points.size, weights=rows)
    return rows * (rows.sum() / (len(counts) * counts))[points.size]


def _fit_line(points: Measurements, law: LineLaw, options: Options) -> FitResult:
    """Fits a law that is linear in all but one parameter.

    The log objective is one projection. The others are Gauss-Newton: each step minimises sum_i w_i (z_i - eta_i)^2 with
    weights w and working response z taken at the last eta (`objectives.working`), is halved while it overshoots, and
    ends where log10 L moves by less than 1e-9.
    """
    base = point_weights(points, options.equal_weight)
    result = _projected(points, law, options, base, points.y)
    if options.objective == "log":
        return result
    scale = robust_scale(result.residual)

    def value(eta: Floats) -> float:
        return float((base * contributions(options.objective, points, eta, scale)).sum())

    result = replace(result, value=value(result.eta))
    for iteration in range(100):
        weight, response = working(options.objective, points, result.eta, scale)
        step = _projected(points, law, options, base * weight, response, _theta(result) if iteration else None)
        change, total, fraction = step.eta - result.eta, value(step.eta), 1.0
        while total > result.value * (1 + 1e-13) and fraction > 1e-3:
            # The full step overshot: project a shorter one, towards the response that reaches part of the way.
            fraction *= 0.5
            part = result.eta + fraction * (response - result.eta)
            step = _projected(points, law, options, base * weight, part)
            total = value(step.eta)
        result = replace(step, value=total)
        if np.abs(change).max() < 1e-9:
            break
    # The last projection searches the whole range again, at the final weights: no nearby start decides the result.
    weight, response = working(options.objective, points, result.eta, scale)
    last = _projected(points, law, options, base * weight, response)
    return replace(last, value=value(last.eta), weight=base * weight, response=np.array(response))


def _theta(result: FitResult) -> float:
    assert isinstance(result.parameters, LineParameters)
    return float(result.parameters.theta)


def _projected(
    points: Measurements,
    law: LineLaw,
    options: Options,
    weight: Floats,
    response: Floats,
    near: float | None = None,
) -> FitResult:
    """Minimises sum_i w_i (z_i - eta_i)^2 over the law, exactly but for its one nonlinear parameter.

    Args:
        points: where the model is evaluated.
        law: the law.
        options: of the fit, kept in the result.
        weight: w [P].
        response: z [P], log10 L.
        near: a value of the nonlinear parameter to search around; None: its whole range.

    Raises:
        InputError: a size has points at a single X and the law a level of its own for it.
    """
    sizes = points.sizes
    lines = line_statistics(points.x, response, weight, points.size, len(sizes))
    if law.free_levels and not np.all(lines.cxx > 0):
        size = points.label(sizes[int(np.argmin(lines.cxx))])
        raise InputError(f"size {size} has points at one value of X only; a slope needs at least two")
    projection = variable_projection(law, lines, sizes, near)
    parameters = LineParameters.of(law, sizes, lines, projection)
    slope, level = parameters.line(sizes)
    level = level + parameters.levels if law.free_levels else level
    eta = slope[points.size] * points.x + level[points.size]
    rss, at_bound = float(projection.rss), bool(projection.at_bound)
    return FitResult(law, points, options, parameters, rss, eta, weight, response, at_bound, lines)


def _fit_curve(points: Measurements, law: CurveLaw, options: Options) -> FitResult:
    """Fits a curve from all its starts; large tables are searched as means over bins, then followed on every row."""
    base = point_weights(points, options.equal_weight)
    scale = 1.0
    if options.objective == "huber":
        scale = robust_scale(_fit_curve(points, law, replace(options, objective="log")).residual)
    groups = [points.size == index for index in range(len(points.sizes))] if law.per_size else [points.size >= 0]
    near: list[Floats | None] = [None] * len(groups)
    if len(points) > FEW_ROWS:
        coarse = _fit_curve(averaged(points), law, options).parameters
        assert isinstance(coarse, CurveParameters)
        near = list(coarse.p[:, None] if law.per_size else coarse.p[None, None])
    optima = [
        _descend_curve(points.where(mask), law, options.objective, base[mask], scale, start)
        for mask, start in zip(groups, near, strict=True)
    ]
    p = np.stack([optimum[0] for optimum in optima]) if law.per_size else optima[0][0]
    lines = line_statistics(points.x, points.y, base, points.size, len(points.sizes))
    parameters = CurveParameters(law, points.sizes, lines.mx, p)
    eta = parameters.predict(points.n, points.x)
    weight, response = working(options.objective, points, eta, scale)
    value = sum(optimum[1] for optimum in optima)
    return FitResult(law, points, options, parameters, value, eta, base * weight, np.array(response), lines=lines)


def _descend_curve(
    points: Measurements, law: CurveLaw, objective: str, base: Floats, scale: float, near: Floats | None = None
) -> tuple[Floats, float]:
    """The best parameters p [J] of a curve, and the objective there; from all its starts, or from `near` [M, J]."""
    log_n = np.log10(points.n)

    def weighted(eta: Floats) -> tuple[Floats, Floats]:
        weight, response = working(objective, points, eta, scale)
        return base * weight, response

    curve = Curve(
        eta=lambda p: law.eta(p, log_n, points.x),
        jacobian=lambda p: law.jacobian(p, log_n, points.x),
        working=weighted,
        value=lambda eta: (base * contributions(objective, points, eta, scale)).sum(-1),
    )
    return levenberg_marquardt(curve, law.starts(points, line_coefficients) if near is None else near)
