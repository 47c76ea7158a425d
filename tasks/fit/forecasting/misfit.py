"""How one run's log10 L departs from its own straight line: a smooth misfit, an early one, and white noise.

With log10 L = m - k (log10 X - c), a run of efficiency k has the covariance

    k^2 (0.10^2 exp(-|log10 step - log10 step'| / 0.2) + (0.2 / step)^2 [step = step']) + noise [step = step'].

The first term is an Ornstein-Uhlenbeck process in log step: runs bend, and points that lie close say much the same.
The second is the disorder of the first steps. Both are in decades of X, so k scales them. The noise is binomial times
a factor phi, which first differences of neighbouring points tell: a held-out set whose problems are the same at every
step scatters less than binomially.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.laws.forms import LN10

SMOOTH_SPREAD = 0.10
SMOOTH_LENGTH = 0.2
EARLY_SPREAD = 0.2
_LEAST_FACTOR = 1e-9
_MOST_RUNS = 200


def misfit_covariance(step: ArrayLike, other: ArrayLike | None = None) -> Floats:
    """Covariance of the misfit between points of one run, in decades of X squared: times k^2, of log10 L.

    Args:
        step: training steps, at least 1 [P].
        other: steps of the second axis [Q]; None: the same points, of which each then has its early part too.

    Returns:
        The smooth part [P, Q], or the whole [P, P], symmetric and positive definite.
    """
    step = np.atleast_1d(np.asarray(step, dtype=np.float64))
    second = step if other is None else np.atleast_1d(np.asarray(other, dtype=np.float64))
    distance = np.abs(np.log10(step)[:, None] - np.log10(second))
    smooth: Floats = SMOOTH_SPREAD**2 * np.exp(-distance / SMOOTH_LENGTH)
    return smooth if other is not None else smooth + np.diag((EARLY_SPREAD / step) ** 2)


def binomial_variance(loss: ArrayLike, trials: ArrayLike | None = None) -> Floats:
    """Variance of log10 L where each of `trials` answers is wrong with chance L; None: of one answer (delta method)."""
    loss = np.clip(np.asarray(loss, dtype=np.float64), 1e-6, 1.0 - 1e-3)
    return np.asarray((1.0 - loss) / (loss * LN10**2) / (1.0 if trials is None else np.asarray(trials, float)))


def noise_factor(points: Measurements) -> float:
    """phi: white variance over `binomial_variance`, from first differences of neighbouring points of every run.

    Neighbours differ by the run's slope, which is taken out, and by white noise; the smooth misfit hardly changes
    between them. Where the answers are not known phi is that of one answer, 1 / (answers in effect). Of many runs
    about 200 are read.

    Returns:
        The factor, pooled over runs of at least 4 points; 1 (0.002, 500 answers) where there is no such run.
    """
    order = np.lexsort((points.x, points.run))
    runs = np.split(order, np.flatnonzero(np.diff(points.run[order])) + 1)
    squares = total = 0.0
    for own in runs[:: max(len(runs) // _MOST_RUNS, 1)]:
        x, y = points.x[own], points.y[own]
        if len(own) < 4 or np.ptp(x) == 0:
            continue
        expected = binomial_variance(10.0 ** _smoothed(y), None if points.trials is None else points.trials[own])
        difference = np.diff(y) - np.polyfit(x, y, 1)[0] * np.diff(x)
        # Jumps between evaluations are no noise: squares count up to nine times the median's estimate of the variance.
        ratio = difference**2 / (expected[1:] + expected[:-1])
        squares += float(np.minimum(ratio, 9.0 * np.median(ratio) / 0.4549).sum())
        total += len(difference)
    if not total:
        return 1.0 if points.trials is not None else 0.002
    return max(squares / total, _LEAST_FACTOR)


def _smoothed(y: Floats) -> Floats:
    """Means over up to five neighbours [P]: chance losses would bias the weights."""
    kernel = np.ones(min(5, len(y)))
    return np.asarray(np.convolve(y, kernel, mode="same") / np.convolve(np.ones(len(y)), kernel, mode="same"))
