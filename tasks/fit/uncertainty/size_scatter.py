"""How far sizes lie from the law beyond their noise, as a variance component of a law's numbers.

A law of N is never exact: every size's line deviates from it by (level, slope), in proportion to |log10 L| and |k|,
with standard deviations tau. Each tau^2 is the moment estimate of Paule and Mandel (1982) from the sizes' misfits, with
the degrees of freedom that the law's parameters leave. Draws of a law move every size by its noise and by one such
deviation, so that intervals hold what other sizes of the same kind would have said. Laws fitted to each size alone have
no misfit of this kind and are left as they are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.laws.forms import LineLaw
from tasks.fit.solver.estimate import FitResult
from tasks.fit.solver.line_statistics import line_statistics
from tasks.fit.uncertainty.bootstrap import LineDraws, student_factor
from tasks.fit.uncertainty.moderation import between_variance

# A size's deviation is at least that of a size with this share of the typical |log10 L| or |k|.
_LEAST = 0.1
# Tails never heavier than this: a variance from one or two sizes is better known than its own spread says.
_FEWEST_DOF = 3.0


def with_size_scatter(result: FitResult, lines: LineDraws) -> LineDraws:
    """Adds the sizes' deviations from the law to the draws of their lines.

    Args:
        result: a fit.
        lines: draws of every size's line, noise alone.

    Returns:
        The draws with `size_level` and `size_slope` filled in.
    """
    points, law = result.points, result.law
    sizes = len(points.sizes)
    free = 2 * sizes - law.parameters(sizes)
    if free <= 0:
        return lines
    fitted = line_statistics(points.x, result.eta, result.weight, points.size, sizes)
    misfit = line_statistics(points.x, result.residual_working, result.weight, points.size, sizes)
    free_levels = isinstance(law, LineLaw) and law.free_levels
    dof = float(free if free_levels else free / 2)
    slope = _scatter(misfit.slope, lines.slope.var(axis=0), fitted.slope, dof)
    level = np.zeros(sizes) if free_levels else _scatter(misfit.my, lines.level.var(axis=0), fitted.my, dof)
    rng = np.random.default_rng([result.options.seed, 6])
    shape = lines.level.shape
    tails = student_factor(rng, np.array([max(dof, _FEWEST_DOF)]), (shape[0], 1))
    return replace(
        lines,
        level=lines.level + rng.standard_normal(shape) * tails * level,
        slope=lines.slope + rng.standard_normal(shape) * tails * slope,
        size_level=level,
        size_slope=slope,
    )


def _scatter(misfit: Floats, noise: Floats, magnitude: Floats, dof: float) -> Floats:
    """Standard deviation of each size's own deviation [S], from misfits with noise variances and their freedom."""
    typical = float(np.sqrt(np.mean(magnitude**2)))
    if typical == 0:
        return np.zeros(len(misfit))
    shape = np.maximum(np.abs(magnitude) / typical, _LEAST) ** 2
    share = np.full(len(misfit), dof / len(misfit))
    # Misfits are smaller than deviations by what the law took up: dof of S.
    tau2 = between_variance(misfit**2 / share, share, noise, shape)
    return np.sqrt(tau2 * shape)
