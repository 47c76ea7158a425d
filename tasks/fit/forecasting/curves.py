"""Loss curves on a common time axis, averaged within size and narrow bins of it.

Time t is log10 step, so a size that spends more tokens per prompt is not taken for one that learns later; where the
source has no steps, t is log10 X from the first X of a size. `offset` of a size is log10 X - t.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.forecasting.misfit import binomial_variance, noise_factor

_BIN = 0.08
_FACTOR_POINTS = 20


@dataclass(frozen=True)
class Curve:
    """One averaged curve: N, times t, mean log10 L and its white variance [B]; `last` is the time of its last point."""

    n: float
    t: Floats
    y: Floats
    noise: Floats

    @property
    def slope(self) -> float:
        """Least-squares slope of log10 L in t; 0 where t does not vary."""
        spread = self.t - self.t.mean()
        squares = float(spread @ spread)
        return float(spread @ self.y) / squares if squares > 0 else 0.0

    @property
    def scale(self) -> float:
        """What the misfit is measured in: |slope|, at least a twentieth of |log10 L|, decades of L per decade."""
        return float(max(abs(self.slope), 0.05 * abs(self.y.mean()), 1e-3))


@dataclass(frozen=True)
class Clock:
    """How log10 X and t of a table's sizes hang together, and how noisy its points are.

    Attributes:
        stepped: whether t is log10 step.
        log_n: log10 of the sizes [S].
        offset: log10 X - t of each size [S].
        factor: `noise_factor` of each size, drawn to that of the table where a size has few points [S].
        trials: graded answers of a point, median; None where unknown.
    """

    stepped: bool
    log_n: Floats
    offset: Floats
    factor: Floats
    trials: float | None

    @classmethod
    def of(cls, points: Measurements) -> Clock:
        """The clock of a table."""
        trials = None if points.trials is None else float(np.median(points.trials))
        parts = [points.where(points.n == size) for size in points.sizes]
        pooled = np.log(noise_factor(points))
        weight = [len(part) / (len(part) + _FACTOR_POINTS) for part in parts]
        own = [pooled + w * (np.log(noise_factor(part)) - pooled) for part, w in zip(parts, weight, strict=True)]
        offsets = np.array([_offset(part) for part in parts])
        return cls(points.steps_known, np.log10(points.sizes), offsets, np.exp(own), trials)

    def offset_of(self, n: float, own: Measurements | None) -> tuple[float, float]:
        """log10 X - t of a size and its standard error: from its own points, else by a line in log N through others.

        One size tells no trend: its X per step is taken as it is, which is right for data and a guess for compute.
        """
        if own is not None and len(own):
            return _offset(own), 0.0
        at = np.log10(n)
        same = np.isclose(self.log_n, at)
        if same.any():
            return float(self.offset[same][0]), 0.0
        if len(self.log_n) < 2:
            return float(self.offset[0]), 0.1
        line = np.polyfit(self.log_n, self.offset, 1)
        error = self.offset - np.polyval(line, self.log_n)
        return float(np.polyval(line, at)), float(np.sqrt(error @ error / max(len(error) - 2, 1)))

    def variance(self, n: float, y: Floats, trials: Floats | float | None = None) -> Floats:
        """White variance of log10 L at size n (the nearest one's) and expected log10 losses y."""
        known = self.trials if trials is None else trials
        factor = self.factor[int(np.argmin(np.abs(self.log_n - np.log10(n))))]
        return factor * binomial_variance(10.0 ** np.minimum(y, 0.0), known)

    def curve(self, points: Measurements) -> Curve:
        """Points of one size, averaged within bins of t: distinct early steps stay apart."""
        t = self.time(points)
        degree = min(2, len(np.unique(t)) - 1) if len(t) >= 4 else 0
        smooth: Floats = np.asarray(np.polyval(np.polyfit(t, points.y, degree), t), dtype=np.float64)
        variance = self.variance(float(points.n[0]), smooth, points.trials)
        _, group = np.unique(np.round(t / _BIN), return_inverse=True)
        count = np.bincount(group)
        mean = [np.bincount(group, weights=values) / count for values in (t, points.y, variance)]
        return Curve(float(points.n[0]), mean[0], mean[1], mean[2] / count)

    def time(self, points: Measurements) -> Floats:
        """t of points of one size [P]."""
        return np.log10(np.maximum(points.step, 1)) if self.stepped else points.x - _offset(points)


def _offset(points: Measurements) -> float:
    """log10 X - t of points of one size: the median over later points, whose tokens per prompt last."""
    if not points.steps_known:
        return float(points.x.min())
    later = points.step >= np.median(points.step)
    return float(np.median(points.x[later] - np.log10(points.step[later])))
