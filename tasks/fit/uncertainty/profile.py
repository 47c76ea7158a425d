"""Profile likelihood of Kmax and N0 of the saturating law, which lie on a ridge.

S(q) is the smallest residual sum of squares with one number held at q; the interval is where S(q) - S_min stays below
t^2 s^2 D. s^2 is the residual variance and D >= 1 the design effect: how much wider the bootstrap, which knows that
points within a run are not independent, finds the estimate than independent points would make it. Unlike percentiles
of draws, the profile says openly when the data put no upper end to N0: the bound is then null.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.laws.forms import LineLaw
from tasks.fit.solver.line_statistics import line_statistics
from tasks.fit.solver.parameters import LineParameters
from tasks.fit.solver.variable_projection import profile as sum_of_squares
from tasks.fit.uncertainty.inference import BootstrappedFit
from tasks.records.fits import Estimate

_T2 = 1.959964**2


def profile_intervals(fit: BootstrappedFit) -> dict[str, Estimate]:
    """95 % intervals of N0 and Kmax, empty for other laws. A null bound: the data do not bound that side."""
    result = fit.result
    if result.law.name != "saturating":
        return {}
    state, draws = result.parameters, fit.draws
    assert isinstance(state, LineParameters)
    assert isinstance(draws, LineParameters)
    assert isinstance(result.law, LineLaw)
    points = result.points
    lines = line_statistics(points.x, result.response, result.weight, points.size, len(points.sizes))
    low, high = np.log10(points.sizes[0]) - 3.0, np.log10(points.sizes[-1]) + 3.0
    theta = np.unique(np.r_[np.linspace(low, high, 1201), state.theta])
    rss, _ = sum_of_squares(result.law, lines, points.sizes, theta)
    dof = (len(points) - result.law.parameters(len(points.sizes))) or 1
    variance = float(rss.min()) / dof
    out = {}
    coefficients, samples = state.coefficients(), draws.coefficients()
    for name, (grid, curve) in {
        "N0": (10.0**theta, rss),
        "Kmax": _kmax_profile(result.law, fit, theta, float(coefficients["Kmax"])),
    }.items():
        best = float(coefficients[name])
        if best <= 0:  # loss that rises with X: the profile is taken over logarithms, and the law does not hold there
            out[name] = Estimate(best, None, None)
            continue
        effect = _design_effect(np.log(grid), curve, np.log(best), np.log(np.maximum(samples[name], 1e-300)), variance)
        out[name] = _cut(grid, curve - curve.min(), best, _T2 * variance * effect)
    return out


def _kmax_profile(law: LineLaw, fit: BootstrappedFit, theta: Floats, best: float) -> tuple[Floats, Floats]:
    """Kmax from a tenth to ten times its estimate, and min over N0 of S: S is a parabola in Kmax for each N0."""
    result = fit.result
    points, state = result.points, result.parameters
    assert isinstance(state, LineParameters)
    lines = line_statistics(points.x, result.response, result.weight, points.size, len(points.sizes))
    u = law.basis(theta, points.sizes, state.reference)[0][..., 0]
    moment, gram = u @ lines.cxy, (u * u) @ lines.cxx
    kmax = abs(best) * np.unique(np.r_[np.geomspace(0.1, 10.0, 1201), 1.0])
    beta = kmax[:, None] / (1.0 + 10.0**theta / state.reference)
    curve = (float(lines.cyy.sum()) - 2.0 * beta * moment + beta**2 * gram).min(axis=1)
    return kmax, curve


def _design_effect(grid: Floats, curve: Floats, best: float, draws: Floats, variance: float) -> float:
    """Variance of the draws (by quartiles) over the variance that the curvature of S implies, at least 1."""
    quartiles = np.quantile(draws, [0.25, 0.75])
    spread = float(quartiles[1] - quartiles[0]) / 1.349
    rise = curve - curve.min()
    near = np.abs(grid - best) < max(2.0 * spread, 3.0 * float(np.diff(grid).max()))
    curvature = float((rise[near] * (grid[near] - best) ** 2).sum() / ((grid[near] - best) ** 4).sum())
    return max(spread**2 * curvature / max(variance, 1e-300), 1.0)


def _cut(grid: Floats, rise: Floats, best: float, limit: float) -> Estimate:
    """Where the rise first exceeds the limit on each side of the best value; None where it never does."""
    nearest = int(np.argmin(np.abs(grid - best)))
    above = np.flatnonzero(rise > limit)
    left, right = above[above < nearest], above[above > nearest]
    return Estimate(
        best,
        _crossing(grid, rise, int(left[-1]), int(left[-1]) + 1, limit) if len(left) else None,
        _crossing(grid, rise, int(right[0]), int(right[0]) - 1, limit) if len(right) else None,
    )


def _crossing(grid: Floats, rise: Floats, out: int, inside: int, limit: float) -> float:
    """Linear interpolation, in log of the quantity, between a point above the limit and its neighbour below."""
    fraction = (limit - rise[inside]) / (rise[out] - rise[inside])
    return float(np.exp(np.log(grid[inside]) + fraction * (np.log(grid[out]) - np.log(grid[inside]))))
