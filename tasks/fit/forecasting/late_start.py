"""How many first steps to leave out, by held-out error: runs that jump first (format) and then flatten.

Every run is cut at half of its steps; its line through the points from a start on up to there is scored on the rest.
The start with the smallest error over all runs is taken, 0 unless it is worth at least 5 %.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Mask, Measurements
from tasks.fit.forecasting.forecast import run_fraction
from tasks.fit.solver.line_statistics import line_statistics

_SHARES = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
_CUT, _LEAST_POINTS, _WORTH = 0.5, 4, 0.95


def late_start(points: Measurements) -> tuple[int, str]:
    """The last step to leave out, and why, in a sentence.

    Starts are shares of the shortest run, so that all runs have points on both sides; runs with fewer than four points
    from the latest start to the middle are not asked.
    """
    fraction = run_fraction(points)
    ends = np.zeros(len(points.runs))
    np.maximum.at(ends, points.run, points.step)
    starts = sorted({int(share * ends.min()) for share in _SHARES})
    early = fraction <= _CUT
    left = np.bincount(points.run[early & (points.step > starts[-1])], minlength=len(ends))
    asked = left >= _LEAST_POINTS
    if not asked.any():
        return 0, f"no step left out: no run has {_LEAST_POINTS} points between step {starts[-1]} and its middle"
    errors = np.array([_error(points, early, asked, start) for start in starts])
    best = int(np.argmin(errors))
    if errors[best] > _WORTH * errors[0] - 1e-6:
        best = 0
    choice = f"steps up to {starts[best]} left out" if best else "no step left out"
    return starts[best], (
        f"{choice}: lines from there to the middle of {int(asked.sum())} run(s) miss the rest by "
        f"{errors[best]:.4f} in log10 L (from the first step: {errors[0]:.4f})"
    )


def _error(points: Measurements, early: Mask, asked: Mask, start: int) -> float:
    """Root mean square error on the later half, of each run's line from `start` to its middle."""
    inside = (early & (points.step > start)).astype(np.float64)
    lines = line_statistics(points.x, points.y, inside, points.run, len(asked))
    late = asked[points.run] & ~early
    run = points.run[late]
    error = points.y[late] - lines.my[run] - lines.slope[run] * (points.x[late] - lines.mx[run])
    return float(np.sqrt(np.mean(error**2)))
