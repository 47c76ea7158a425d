"""What a fit minimises, as weights and a working response: one Gauss-Newton step of any of them is a weighted line fit.

With eta = log10 L the model and y = log10 L the data, each point contributes

- log:      (y - eta)^2
- linear:   (L - 10^eta)^2, the published objective
- binomial: twice the deviance of `wrong = L trials` wrong answers out of `trials` at rate 10^eta
- huber:    r^2 where |r| < c, 2 c |r| - c^2 elsewhere; r = y - eta, c = 1.345 s, s a robust scale of the log fit's
            residuals
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.laws.forms import LN10
from tasks.study.errors import InputError

Objective = Literal["log", "linear", "binomial", "huber"]
OBJECTIVES: tuple[str, ...] = get_args(Objective)
_HUBER = 1.345


def require_objective(name: str, points: Measurements) -> None:
    """Refuses an unknown objective, and the binomial one without trials.

    Raises:
        InputError: with the reason.
    """
    if name not in OBJECTIVES:
        raise InputError(f"objective {name!r} is unknown, expected one of {', '.join(OBJECTIVES)}")
    if name == "binomial" and points.trials is None:
        raise InputError("objective binomial needs the number of graded answers of each point (--trials COLUMN)")


def robust_scale(residual: Floats) -> float:
    """1.4826 times the median absolute residual, at least 1e-12."""
    return max(1.4826 * float(np.median(np.abs(residual))), 1e-12)


def _rate(points: Measurements, eta: Floats) -> Floats:
    """Model loss kept inside (0, 1) by half an answer, as the likelihood needs."""
    assert points.trials is not None
    half = 0.5 / points.trials
    return np.clip(10.0**eta, half, 1.0 - half)


def working(objective: str, points: Measurements, eta: Floats, scale: float) -> tuple[Floats, Floats]:
    """Weights and working response at the current model; squared error in them has the objective's gradient.

    Args:
        objective: one of `OBJECTIVES`.
        points: the data [P].
        eta: model log10 L [..., P].
        scale: robust scale of residuals, used by huber.

    Returns:
        Two arrays [..., P].
    """
    if objective == "log":
        return np.ones_like(eta), np.broadcast_to(points.y, eta.shape)
    if objective == "linear":
        rate = 10.0**eta
        return (LN10 * rate) ** 2, eta + (points.loss - rate) / (LN10 * rate)
    if objective == "binomial":
        assert points.trials is not None
        rate = _rate(points, eta)
        return points.trials * rate / (1.0 - rate) * LN10**2, eta + (points.loss - rate) / (LN10 * rate)
    residual = points.y - eta
    return np.minimum(1.0, _HUBER * scale / np.maximum(np.abs(residual), 1e-300)), np.broadcast_to(points.y, eta.shape)


def contributions(objective: str, points: Measurements, eta: Floats, scale: float) -> Floats:
    """The objective's term of each point [..., P], before any weight per size."""
    residual = points.y - eta
    if objective == "log":
        return residual**2
    if objective == "linear":
        return (points.loss - 10.0**eta) ** 2
    if objective == "binomial":
        assert points.trials is not None
        rate, wrong = _rate(points, eta), points.trials * points.loss
        right = points.trials - wrong
        with np.errstate(divide="ignore", invalid="ignore"):
            bad = np.where(wrong > 0, wrong * np.log(points.loss / rate), 0.0)
            good = np.where(right > 0, right * np.log((1.0 - points.loss) / (1.0 - rate)), 0.0)
        return 2.0 * (bad + good)
    cut = _HUBER * scale
    size = np.abs(residual)
    return np.where(size <= cut, residual**2, 2.0 * cut * size - cut**2)
