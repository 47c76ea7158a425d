"""Variances from few runs, moderated: each size's own estimate combined with what all sizes say together.

After Smyth 2004 (doi:10.2202/1544-6115.1027), with a prior that knows each size's within-run noise and lets the
run-to-run part be common to the sizes or grow with what they learn.
"""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats

# The prior of a run-to-run variance never counts for more than this many degrees of freedom: sizes may really differ.
_MAX_PRIOR_DOF = 8.0


def moderate(variance: Floats, dof: Floats, within: Floats, size: Floats) -> tuple[Floats, Floats]:
    """Combines each size's run-to-run variance with what all sizes say together.

    Prior of size i: tau2 + within_i, tau2 >= 0 the common between-run variance beyond within-run noise (by moments).
    Its weight d0 comes from the spread of log(variance / prior), Smyth's estimator.

    Args:
        variance: sample variances of run deviations [S], of any value where dof is 0.
        dof: their degrees of freedom, runs - 1 [S].
        within: variance of a run's estimate due to its own noise [S].
        size: magnitude of what varies, |log10 L| or |slope|, for the second shape of the prior [S].

    Returns:
        Moderated variances and degrees of freedom [S].
    """
    repeated = dof > 0
    total = float(dof.sum())
    prior = _prior(variance, dof, within, size)
    ratio = np.maximum(variance[repeated] / np.maximum(prior[repeated], 1e-300), 1e-12)
    half = dof[repeated] / 2.0
    spread = np.log(ratio) - _digamma(half) + np.log(half)
    count = int(repeated.sum())
    excess = 0.0 if count < 2 else float(np.var(spread, ddof=1) - _trigamma(half).mean())
    d0 = 2.0 * _inverse_trigamma(excess) if excess > 1e-8 else np.inf
    d0 = max(min(d0, total, _MAX_PRIOR_DOF), 1.0)
    fraction = dof / (d0 + dof)
    moderated = fraction * np.where(repeated, variance, 0.0) + (1 - fraction) * prior
    return moderated, np.minimum(d0 + dof, max(total, 1.0))


def _prior(variance: Floats, dof: Floats, within: Floats, size: Floats) -> Floats:
    """within + tau2 shape, averaged over shapes of the run-to-run variance by how likely they make the data.

    The shapes go from the same for all sizes to proportional to size^2 (what learns more, varies more).
    """
    repeated, priors, likelihood = dof > 0, [], []
    squared = size**2 / np.mean(size**2) if (size > 0).any() else np.ones_like(size)
    for fraction in (0.0, 0.25, 0.5, 0.75, 1.0):
        shape = (1.0 - fraction) + fraction * squared
        tau2 = between_variance(variance[repeated], dof[repeated], within[repeated], shape[repeated])
        prior = np.maximum(within + tau2 * shape, 1e-300)
        ratio = variance[repeated] / prior[repeated]
        priors.append(prior)
        likelihood.append(float(-0.5 * (dof[repeated] * (np.log(prior[repeated]) + ratio)).sum()))
    weight = np.exp(np.array(likelihood) - max(likelihood))
    return np.tensordot(weight / weight.sum(), np.array(priors), axes=1)


def between_variance(variance: Floats, dof: Floats, within: Floats, shape: Floats) -> float:
    """tau2 with sum over sizes of dof (variance / (tau2 shape + within) - 1) = 0, or 0 (Paule and Mandel 1982)."""

    def surplus(tau2: float) -> float:
        return float((dof * (variance / np.maximum(tau2 * shape + within, 1e-300) - 1.0)).sum())

    if surplus(0.0) <= 0:
        return 0.0
    low, high = 0.0, float((variance / np.maximum(shape, 1e-12)).max()) * len(variance) + 1e-300
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if surplus(middle) > 0 else (low, middle)
    return 0.5 * (low + high)


def _digamma(value: Floats) -> Floats:
    """Derivative of log Gamma, by recurrence to 6 and the asymptotic series (error below 1e-9)."""
    total, x = np.zeros_like(value), np.array(value, dtype=float)
    for _ in range(6):
        total, x = total - 1.0 / x, x + 1.0
    return total + np.log(x) - 0.5 / x - 1 / (12 * x**2) + 1 / (120 * x**4) - 1 / (252 * x**6)


def _trigamma(value: Floats | float) -> Floats:
    """Second derivative of log Gamma, by the same recurrence."""
    x = np.array(value, dtype=float)
    total = np.zeros_like(x)
    for _ in range(6):
        total, x = total + 1.0 / x**2, x + 1.0
    return total + 1.0 / x + 0.5 / x**2 + 1 / (6 * x**3) - 1 / (30 * x**5) + 1 / (42 * x**7)


def _inverse_trigamma(target: float) -> float:
    """x with trigamma(x) = target > 0, by bisection on log x."""
    low, high = 1e-6, 1e8
    for _ in range(200):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if float(_trigamma(middle)) > target else (low, middle)
    return float(np.sqrt(low * high))
