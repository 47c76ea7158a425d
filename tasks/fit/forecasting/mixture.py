"""Mixtures of normals: what a Student-t prior becomes once points have been seen. No random numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.uncertainty.inference import Interval

_LEVELS = (0.025, 0.1, 0.25, 0.75, 0.9, 0.975)
_erf = np.frompyfunc(math.erf, 1, 1)


@dataclass(frozen=True)
class Mixture:
    """J normals for each of Q quantities.

    Attributes:
        weight: weights, sum 1 [J].
        mean: means [J, Q].
        variance: variances [J, Q].
    """

    weight: Floats
    mean: Floats
    variance: Floats

    @property
    def center(self) -> Floats:
        """Means of the quantities [Q]."""
        return np.asarray(self.weight @ self.mean, dtype=np.float64)

    @property
    def spread(self) -> Floats:
        """Variances of the quantities [Q]."""
        return np.asarray(self.weight @ (self.variance + (self.mean - self.center) ** 2), dtype=np.float64)

    def widened(self, factor: float) -> Mixture:
        """The same centers with `factor` times the variance."""
        mean = self.center + math.sqrt(factor) * (self.mean - self.center)
        return replace(self, mean=mean, variance=factor * self.variance)

    def with_noise(self, variance: Floats | float) -> Mixture:
        """Each quantity plus independent noise of that variance [Q]."""
        return replace(self, variance=self.variance + variance)

    def below(self, value: Floats | float) -> Floats:
        """Probability of each quantity to lie below a value [Q]."""
        z = (value - self.mean) / np.sqrt(2.0 * np.maximum(self.variance, 1e-20))
        return np.asarray(self.weight @ (0.5 + 0.5 * _erf(z).astype(np.float64)), dtype=np.float64)

    def quantile(self, probability: float) -> Floats:
        """Quantiles by bisection [Q]."""
        reach = 12.0 * np.sqrt(np.maximum(self.variance, 1e-20))
        low, high = (self.mean - reach).min(axis=0), (self.mean + reach).max(axis=0)
        for _ in range(40):
            middle = 0.5 * (low + high)
            under = self.below(middle) < probability
            low, high = np.where(under, middle, low), np.where(under, high, middle)
        return np.asarray(0.5 * (low + high))

    def intervals(self) -> list[Interval]:
        """Center with 50, 80 and 95 % intervals of every quantity [Q]."""
        bounds = np.stack([self.center, *(self.quantile(level) for level in _LEVELS)], axis=1)
        return [Interval(*(float(value) for value in row)) for row in bounds]


def student_scales(dof: int, count: int = 9) -> Floats:
    """Equally likely factors of a squared scale that make Student's t of normals: dof / chi2 at mid quantiles [count].

    Quantiles of chi2 by Wilson and Hilferty (1931).
    """
    z = np.array([NormalDist().inv_cdf((i + 0.5) / count) for i in range(count)])
    cube = 1.0 - 2.0 / (9.0 * dof) + z * math.sqrt(2.0 / (9.0 * dof))
    return np.asarray(1.0 / np.maximum(cube, 0.05) ** 3, dtype=np.float64)
