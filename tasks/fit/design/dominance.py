"""Which of several running candidates can hardly win: their ends, forecast from their own points.

Every candidate's line log10 L = m - k (x - c) is fitted by generalized least squares, with the covariance of
`tasks.fit.forecasting.misfit` about it and the white noise that the candidates' residuals show. Slopes are shrunk to
the candidates' mean: of k_i with variance v_i, between-candidate variance t^2 (DerSimonian and Laird 1986, and at least
(20 % of the mean)^2), the posterior is w_i k_i + (1 - w_i) mean, w_i = t^2 / (t^2 + v_i). The end is the line at the
last x with what the misfit may still do; the favourite is the candidate with the lowest one. Candidate i is dominated
where the chance that its end lies below the favourite's is small.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.forecasting.misfit import misfit_covariance
from tasks.fit.laws.forms import LN10

LEAST_POINTS = 3
LEAST_SPREAD = 0.2
"""Least between-candidate standard deviation of slopes, as a share of their mean."""


@dataclass(frozen=True)
class Curve:
    """What is known of a candidate.

    Attributes:
        step: training steps [P].
        x: log10 of the resource over the resource at the end, at most 0 [P].
        y: log10 L [P].
        last_step: step at the end.
    """

    step: Floats
    x: Floats
    y: Floats
    last_step: float


@dataclass(frozen=True)
class Ends:
    """Forecast of log10 L of K candidates at their ends: mean [K], covariance [K, K]."""

    mean: Floats
    covariance: Floats

    @property
    def favorite(self) -> int:
        """The candidate with the lowest expected loss."""
        return int(np.argmin(self.mean))

    @property
    def _lead(self) -> tuple[Floats, Floats]:
        """By how much each candidate is expected to end above the favorite, and the standard deviation of that [K]."""
        best, variance = self.favorite, np.diag(self.covariance)
        spread = np.sqrt(np.maximum(variance + variance[best] - 2.0 * self.covariance[best], 1e-300))
        return self.mean - self.mean[best], spread

    def chances(self) -> Floats:
        """Chance that each candidate ends below the favorite [K]; the favorite's own is 1."""
        lead, spread = self._lead
        out = _upper_tail(lead / spread)
        out[self.favorite] = 1.0
        return out

    def regrets(self) -> Floats:
        """Expected loss given away where each candidate is stopped, E max(0, favorite's end - its own) [K], in L.

        That of a normal difference in log10 L, in L by the derivative at the favorite's end.
        """
        lead, spread = self._lead
        z = lead / spread
        density = np.exp(-0.5 * z**2) / math.sqrt(2.0 * math.pi)
        return np.asarray(10.0 ** self.mean[self.favorite] * LN10 * (spread * density - lead * _upper_tail(z)))


def _upper_tail(z: Floats) -> Floats:
    """Chance of a standard normal above z."""
    return np.array([0.5 * math.erfc(value / math.sqrt(2.0)) for value in z])


def forecast_ends(curves: Sequence[Curve]) -> Ends:
    """Forecasts the candidates' ends from their points so far.

    Args:
        curves: K candidates of at least `LEAST_POINTS` points each.
    """
    noise = _noise(curves)
    lines = [_line(curve, noise) for curve in curves]
    slope, variance = np.array([line.slope for line in lines]), np.array([line.slope_variance for line in lines])
    mean, between = shrinkage(slope, variance)
    weight = between / (between + variance)
    spread = np.diag(weight * variance) + np.outer(1.0 - weight, 1.0 - weight) / np.sum(1.0 / (between + variance))
    gain = np.array([line.gain for line in lines])
    rest = np.array([line.rest for line in lines])
    own = np.array([line.rest_variance for line in lines])
    return Ends(rest + gain * (weight * slope + (1.0 - weight) * mean), np.outer(gain, gain) * spread + np.diag(own))


def shrinkage(slope: Floats, variance: Floats) -> tuple[float, float]:
    """Mean of K slopes and their between-candidate variance (DerSimonian and Laird), at least (20 % of the mean)^2."""
    weight = 1.0 / variance
    mean = float(weight @ slope / weight.sum())
    excess = float(weight @ (slope - mean) ** 2) - (len(slope) - 1)
    scale = float(weight.sum() - weight @ weight / weight.sum())
    between = max(excess / scale, 0.0) if scale > 0 else 0.0
    for _ in range(20):  # the floor depends on the mean, which depends on it
        between = max(between, (LEAST_SPREAD * mean) ** 2, 1e-12)
        weight = 1.0 / (variance + between)
        mean = float(weight @ slope / weight.sum())
    return mean, between


@dataclass(frozen=True)
class _Line:
    """A run's slope, and its end as `rest + gain x slope`; variances of the two parts, which are independent."""

    slope: float
    slope_variance: float
    rest: float
    gain: float
    rest_variance: float


def _noise(curves: Sequence[Curve]) -> float:
    """White variance of log10 L: half the mean squared difference of neighbors, slopes taken out, over all curves."""
    squares = [np.diff(c.y) - np.polyfit(c.x, c.y, 1)[0] * np.diff(c.x) for c in curves]
    return max(float(np.mean(np.concatenate(squares) ** 2)) / 2.0, 1e-10)


def _line(curve: Curve, noise: float) -> _Line:
    """Generalized least squares about the center where level and slope are independent, and kriging to the end.

    With R the covariance of the points and r theirs with the misfit at the end, the end is
    (m - k x) + r' R^-1 (y - (m - k x)): linear in m and k. The scale of the misfit is the ordinary line's k.
    """
    k = max(-float(np.polyfit(curve.x, curve.y, 1)[0]), 0.0)
    inverse = np.linalg.inv(k**2 * misfit_covariance(curve.step) + noise * np.eye(len(curve.x)))
    weight = inverse.sum(axis=0)
    center = float(weight @ curve.x / weight.sum())
    down = center - curve.x
    level, information = float(weight @ curve.y / weight.sum()), float(down @ inverse @ down)
    last = [curve.last_step]
    toward = inverse @ (k**2 * misfit_covariance(curve.step, last)[:, 0])
    ahead = k**2 * float(misfit_covariance(last, last)[0, 0] - toward @ misfit_covariance(curve.step, last)[:, 0])
    share = 1.0 - float(toward.sum())
    return _Line(
        slope=float(down @ inverse @ curve.y) / information,
        slope_variance=1.0 / information,
        rest=share * level + float(toward @ curve.y),
        gain=center - float(toward @ down),
        rest_variance=share**2 / float(weight.sum()) + ahead,
    )
