"""What runs would tell about the loss of a size that nobody has trained: a linear-Gaussian model about the pivot law.

The law's parameters are theta = (ln Kmax, ln N0, a, b), see `tasks.fit.laws.pivot`. A size's line
log10 L = m - k (log10 X - c) deviates from it by an effect on (m, k) that all runs of the size share. A run scatters
about its size's line by a level of its own, the misfit of `tasks.fit.forecasting.misfit`, and white noise: covariance
R. With A = [1, -(x - c)] over its steps and G_n = d(m, k) / d theta,

    one run of T steps    F = A' R^-1 A
    all runs              information = prior + sum over sizes G_n' (F_n^-1 + effects)^-1 G_n, F_n the sum over runs
    the target            variance of its line at the last step, h' (G information^-1 G' + effects) h; runs of its own
                          add their F to the inverse of that covariance

(conditioning of a Gaussian; Rasmussen and Williams 2006, A.2). Nothing depends on losses not yet seen, so a plan can
be judged before any of it is run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tasks.fit.data.measurements import Floats
from tasks.fit.forecasting.misfit import binomial_variance, misfit_covariance

LEVEL_EFFECT, SLOPE_EFFECT = 0.06, 0.15
"""Scatter of sizes about the law, relative to level and slope, as measured on the published curves (3B to 32B, levels
at the middle of the table's log10 X: 0.067 and 0.166)."""
LEAST_EFFECT = 0.01
"""Scatter that is left where level and slope are small, of log10 L and of k: 0.5B to 3B show 0.008 and 0.009."""
RUN_LEVEL = 0.01
"""Scatter of the levels of runs of one size, relative."""
PRIOR_SPREAD = (1.0, 2.0, 5.0, 0.5)
"""Standard deviations of ln Kmax, ln N0, a and b before any run: weak."""
MOST_POINTS = 200
"""A longer run is thinned to so many points, each with the noise of the evaluations it stands for."""


@dataclass(frozen=True)
class LineModel:
    """What is expected of a size.

    Attributes:
        level: m, log10 L at the center.
        slope: k.
        step_x: log10 of the resource of one step.
        center: c, one for all sizes.
        noise: white variance of a measured log10 L over `binomial_variance` of one answer.
        gradient: G [2, 4].
    """

    level: float
    slope: float
    step_x: float
    center: float
    noise: float
    gradient: Floats

    @property
    def effects(self) -> Floats:
        """Covariance of the size's own deviation from the law [2, 2]."""
        relative = np.array([LEVEL_EFFECT * self.level, SLOPE_EFFECT * self.slope])
        return np.diag(relative**2 + LEAST_EFFECT**2)

    def design(self, x: Floats) -> Floats:
        """A: log10 L at x = log10 X by (m, k) [P, 2]."""
        return np.stack([np.ones(len(x)), self.center - x], axis=1)

    def covariance(self, step: Floats, x: Floats, evaluations: ArrayLike = 1.0) -> Floats:
        """R of a run's points about its size's line [P, P].

        Args:
            step: training steps [P].
            x: log10 X [P].
            evaluations: how many usual evaluations each point stands for.
        """
        loss = 10.0 ** np.minimum(self.design(x) @ [self.level, self.slope], 0.0)
        white = self.noise * binomial_variance(loss, evaluations)
        own = (RUN_LEVEL * self.level) ** 2
        return np.asarray(self.slope**2 * misfit_covariance(step) + own + np.diag(white))

    def planned(self, last: int) -> tuple[Floats, Floats]:
        """Steps and log10 X of the points of a run of `last` steps, thinned [P]."""
        step = np.unique(np.linspace(1, last, min(last, MOST_POINTS)).round())
        return step, self.step_x + np.log10(step)

    def information(self, last: int) -> Floats:
        """F: what a run of `last` steps tells about (m, k) [2, 2]; zero for none."""
        if last < 1:
            return np.zeros((2, 2))
        step, x = self.planned(last)
        design, covariance = self.design(x), self.covariance(step, x, last / len(step))
        return np.asarray(design.T @ np.linalg.solve(covariance, design))


def deviating(information: Floats, covariance: Floats) -> Floats:
    """(F^-1 + C)^-1 for an F that may be singular: information about the mean of what deviates with covariance C.

    Weight a size's (m, k) by this, with C its `effects`, in a fit of the law.
    """
    return np.asarray(information @ np.linalg.inv(np.eye(2) + covariance @ information))


@dataclass(frozen=True)
class DesignModel:
    """The model of a study: what is expected of any size, and of the target.

    Attributes:
        line: expectation of a size N.
        target: N of the target.
        last_step: the step at which the target's loss is wanted; no run is longer.
    """

    line: Callable[[float], LineModel]
    target: float
    last_step: int

    def evidence(self, n: float, information: Floats) -> Floats:
        """What runs of a size with summed information F [2, 2] tell about theta [4, 4]."""
        size = self.line(n)
        return np.asarray(size.gradient.T @ deviating(information, size.effects) @ size.gradient)

    def covariance(self, evidence: Floats, own: Floats) -> Floats:
        """Covariance of the target's (m, k) [2, 2].

        Args:
            evidence: summed over the other sizes [4, 4].
            own: F of the target's own runs [2, 2].
        """
        target = self.line(self.target)
        law = np.linalg.inv(np.diag(np.power(PRIOR_SPREAD, -2.0)) + evidence)
        prior = target.gradient @ law @ target.gradient.T + target.effects
        return np.asarray(prior @ np.linalg.inv(np.eye(2) + own @ prior))

    def variance(self, evidence: Floats, own: Floats) -> float:
        """Variance of the target's log10 L at its last step; arguments as for `covariance`."""
        target = self.line(self.target)
        end = target.design(np.array([target.step_x + np.log10(self.last_step)]))[0]
        return float(end @ self.covariance(evidence, own) @ end)


@dataclass(frozen=True)
class PivotCoefficients:
    """Kmax, N0, a and b of `tasks.fit.laws.pivot`."""

    kmax: float
    n0: float
    a: float
    b: float

    def line(self, n: float, step_x: float, center: float, noise: float) -> LineModel:
        """What the law expects of a size.

        Args:
            n: N.
            step_x: log10 of the resource of one step.
            center: log10 X at which levels are given.
            noise: white variance over that of one answer.
        """
        k = self.kmax / (1.0 + self.n0 / n)
        above = center - self.a - self.b * np.log10(n)
        growth = np.array([k, -k * (self.n0 / n) / (1.0 + self.n0 / n), 0.0, 0.0])
        gradient = np.stack([-above * growth + [0.0, 0.0, k, k * np.log10(n)], growth])
        return LineModel(-k * above, k, step_x, center, noise, gradient)
