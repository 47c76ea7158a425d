"""The effect of data reuse with intervals: d(tau) over the whole trajectory and over its last fifth.

What one more run at the same tau would do is known from the scale axis, where sizes have several seeds: the spread of
their levels, moderated over the sizes (`moderation.moderate`), is the noise of a single reuse run. Without such runs
(a table with one trajectory per tau) blocks of each trajectory are all there is, and the intervals hold no run-to-run
variation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.fit.data.groups import reuse_groups
from tasks.fit.data.measurements import Floats, Mask, Measurements
from tasks.fit.data.table import read_table
from tasks.fit.forecasting.forecast import run_fraction
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.uncertainty.bootstrap import draw_lines, run_level_variance
from tasks.fit.uncertainty.student_t import quantile
from tasks.records.findings import ReuseEffect
from tasks.records.fits import Estimate
from tasks.records.published import HARMLESS

LATE = 0.8
PUBLISHED_LIMIT = 25.0


def reuse_effects(
    points: Measurements, options: Options, variant: str, scale: Measurements | None = None, size: float | None = None
) -> list[ReuseEffect]:
    """Effects of every tau > 1 against tau = 1.

    Args:
        points: tau in place of N, X in steps.
        options: of the fits.
        variant: goes into the records.
        scale: runs of the scale axis, for the run-to-run variation; None: blocks.
        size: N of the reuse axis among the sizes of `scale`.
    """
    taus = points.sizes
    if taus[0] != 1.0 or len(taus) < 2:
        return []
    overall = _levels(points, options, scale, size, late=False)
    final = _levels(points, options, scale, size, late=True)
    rows = []
    for index in range(1, len(taus)):
        mean, end = (_difference(levels, index) for levels in (overall, final))
        ratio = Estimate(*(None if value is None else float(10.0**value) for value in (end.value, end.low, end.high)))
        rows.append(ReuseEffect(variant, float(taus[index]), mean, end, ratio))
    return rows


def reuse_limit(file: Path | None) -> tuple[float, str]:
    """The largest harmless tau and its source: a table of the reuse axis, or the published study.

    Raises:
        InputError: the file is no such table.
    """
    if file is None:
        return PUBLISHED_LIMIT, "published, 7B"
    limit = 1.0
    for name, points in reuse_groups(read_table(file)).items():
        for row in reuse_effects(points, Options(), name):
            if row.ratio.high is None or row.ratio.high >= 1 + HARMLESS:
                break
            limit = max(limit, row.tau)
    return limit, f"{file}: final loss within {HARMLESS:.0%} at 95 %"


def _levels(
    points: Measurements, options: Options, scale: Measurements | None, size: float | None, late: bool
) -> tuple[Floats, Floats, float]:
    """Level of each tau under a common slope, the standard deviation of each, and the degrees of freedom [T]."""
    part = points.where(_late(points)) if late else points
    result = fit_law(part, LAWS["reuse"], options)
    values = result.parameters.predict(part.sizes, np.full(len(part.sizes), part.x.mean()))
    runs = np.array([len(np.unique(part.run[part.size == index])) for index in range(len(part.sizes))])
    if scale is not None and size is not None:
        seeds = scale.where(_late(scale)) if late else scale
        variance, dof = run_level_variance(seeds)
        index = int(np.flatnonzero(seeds.sizes == size)[0])
        return values, np.sqrt(variance[index] / runs), float(dof[index])
    draws = draw_lines(part, result.response, result.weight, max(options.draws, 1000), options.seed, "blocks")
    return values, draws.level.std(axis=0), float("inf")


def _late(points: Measurements) -> Mask:
    """The last fifth of every run, at least its last three points: a line needs them."""
    fraction = run_fraction(points)
    third = {run: np.sort(fraction[points.run == run])[-3:].min() for run in np.unique(points.run)}
    return np.asarray(fraction >= np.minimum(np.nextafter(LATE, 1.0), [third[run] for run in points.run]))


def _difference(levels: tuple[Floats, Floats, float], index: int) -> Estimate:
    """d(tau), the level of the tau of that index minus that of tau = 1, with its Student-t interval."""
    values, deviation, dof = levels
    effect = float(values[index] - values[0])
    half_width = quantile(0.95, dof) * float(np.hypot(deviation[index], deviation[0]))
    return Estimate(effect, effect - half_width, effect + half_width)
