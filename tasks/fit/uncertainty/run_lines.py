"""Every run's own line, relative to the line of its size, weighed by what the run carries.

A run of P points has weight P in a size's level and sum (x - mean x)^2 in its slope. A run that carries no line of its
own (under 3 points, or a tenth of the spread in X of its size's widest run) takes the slope of its size; its points
then stand beside those of the size's first full run as one series of residuals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats, Ints, Mask, Measurements
from tasks.fit.solver.line_statistics import LineStatistics, line_statistics
from tasks.fit.uncertainty.blocks import long_run_ratio

_FEWEST_POINTS, _LEAST_SPREAD = 3, 0.1


@dataclass(frozen=True)
class Deviations:
    """Deviations of runs from the mean over their size, in level or in slope.

    Attributes:
        value: deviation of each run [R].
        share: weight of each run in its size, summing to 1 over the size [R].
        noise: mean variance of a run's estimate due to its own noise, by size [S].
        count: effective number of runs, 1 / sum of squared shares, by size; 1 where no run says anything [S].
    """

    value: Floats
    share: Floats
    noise: Floats
    count: Floats

    @property
    def dof(self) -> Floats:
        """Degrees of freedom of the variance between runs, count - 1; 0 where that is below a half [S]."""
        return np.where(self.count < 1.5, 0.0, self.count - 1.0)

    def variance(self, size: Ints) -> Floats:
        """Unbiased variance between the runs of each size [S], 0 where there is one; `size` of each run [R]."""
        squares = np.bincount(size, weights=self.share * self.value**2, minlength=len(self.count))
        return np.where(self.dof > 0, squares / np.maximum(1.0 - 1.0 / self.count, 1e-300), 0.0)


@dataclass(frozen=True)
class RunLines:
    """Lines of runs relative to their size's line.

    Attributes:
        size: index of each run's size [R].
        carries: whether the run carries a line of its own [R].
        level: of the runs, at the size's center.
        slope: of the runs.
    """

    size: Ints
    carries: Mask
    level: Deviations
    slope: Deviations

    @property
    def several(self) -> Mask:
        """Sizes with at least two runs that carry a line [S]."""
        return np.bincount(self.size[self.carries], minlength=len(self.level.count)) > 1


def run_lines(points: Measurements, residual: Floats, weight: Floats, lines: LineStatistics) -> RunLines:
    """Lines of all runs.

    With a run's weighted means (mx, my), slope b and Sxx = sum w (x - mx)^2, the level is read at the center c of its
    size, my + b (c - mx), and its noise variance is Var(my) + (c - mx)^2 Var(b) with Var(my) = V(w r) / W^2 and
    Var(b) = V(w r (x - mx)) / Sxx^2; V is `_score_variance` of the residuals r, W the sum of weights.

    Args:
        points: of a fit [P].
        residual: working response minus the law's curve, or the response itself for laws of straight lines [P].
        weight: working weights [P].
        lines: the line of every size through the residuals.
    """
    count, sizes = len(points.runs), len(points.sizes)
    own = line_statistics(points.x, residual, weight, points.run, count)
    size = size_of_runs(points)
    carries = _carries(points, own, size)
    slope = np.where(carries, own.slope, lines.slope[size])
    distance = lines.mx[size] - own.mx
    left = residual - own.my[points.run] - slope[points.run] * (points.x - own.mx[points.run])
    score = weight * left
    noise_mean = _score_variance(points.run, score, count) / own.n**2
    squares = np.where(carries, own.cxx, np.inf)
    noise_slope = _score_variance(points.run, score * (points.x - own.mx[points.run]), count) / squares**2
    level = own.my + slope * distance
    return RunLines(
        size,
        carries,
        _deviations(level, own.n, noise_mean + noise_slope * distance**2, size, sizes),
        _deviations(slope, np.where(carries, own.cxx, 0.0), noise_slope, size, sizes),
    )


def size_of_runs(points: Measurements) -> Ints:
    """Index of each run's size [R]."""
    size = np.zeros(len(points.runs), dtype=np.int64)
    size[points.run] = points.size
    return size


def _carries(points: Measurements, own: LineStatistics, size: Ints) -> Mask:
    widest = np.zeros(len(points.sizes))
    np.maximum.at(widest, size, own.cxx)
    enough = np.bincount(points.run, minlength=len(size)) >= _FEWEST_POINTS
    return np.asarray(enough & (own.cxx > 0) & (own.cxx >= _LEAST_SPREAD * widest[size]))


def series_of(points: Measurements) -> Ints:
    """Index of the series of residuals that each point belongs to [P]: its run, or a full run of its size."""
    own = line_statistics(points.x, points.y, np.ones(len(points)), points.run, len(points.runs))
    size = size_of_runs(points)
    carries = _carries(points, own, size)
    series = np.arange(len(size))
    for index in np.unique(size[~carries]):
        of_size = np.flatnonzero(size == index)
        full = of_size[carries[of_size]]
        series[of_size[~carries[of_size]]] = full[0] if len(full) else of_size[0]
    return series[points.run]


def _deviations(value: Floats, weight: Floats, noise: Floats, size: Ints, sizes: int) -> Deviations:
    total = np.bincount(size, weights=weight, minlength=sizes)
    share = np.divide(weight, total[size], out=np.zeros(len(weight)), where=total[size] > 0)

    def mean(values: Floats) -> Floats:
        return np.bincount(size, weights=share * values, minlength=sizes).astype(np.float64)

    squares = mean(share)
    count = np.divide(1.0, squares, out=np.ones(sizes), where=squares > 0)
    return Deviations(value - mean(value)[size], share, mean(noise), count)


def _score_variance(run: Ints, score: Floats, count: int) -> Floats:
    """Variance of each run's sum of scores [R]: heteroscedastic and autocorrelated (the meat of the sandwich
    estimator).

    The noise of log L differs along a trajectory and so does the leverage of a point; variance times sum of squares
    would mistake the one for the other.
    """
    length = np.bincount(run, minlength=count)
    squares = np.bincount(run, weights=score**2, minlength=count) * length / np.maximum(length - 2, 1)
    parts = np.split(score[np.argsort(run, kind="stable")], np.cumsum(length)[:-1])
    return squares * np.array([long_run_ratio(part) for part in parts])
