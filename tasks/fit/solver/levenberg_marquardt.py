"""Multi-start damped Gauss-Newton (Levenberg-Marquardt) for curves, all starts side by side in one array.

Every objective is a weighted least-squares problem about its working response (`objectives.working`), so one loop
serves them all. Starts come from a fixed grid: the same input gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats

_ITERATIONS = 100


@dataclass(frozen=True)
class Curve:
    """A weighted problem: `eta` and `jacobian` of p [M, J] -> [M, P], [M, P, J], and the objective of eta.

    Attributes:
        eta: the model.
        jacobian: its derivative.
        working: eta [M, P] -> weights and responses [M, P].
        value: eta [M, P] -> objective [M].
    """

    eta: Callable[[Floats], Floats]
    jacobian: Callable[[Floats], Floats]
    working: Callable[[Floats], tuple[Floats, Floats]]
    value: Callable[[Floats], Floats]


def normal_equations(curve: Curve, p: Floats, eta: Floats) -> tuple[Floats, Floats]:
    """Gauss-Newton matrix [M, J, J] and right side [M, J] at p."""
    weight, response = curve.working(eta)
    jacobian = curve.jacobian(p)
    weighted = jacobian * weight[..., None]
    return np.swapaxes(weighted, -1, -2) @ jacobian, np.einsum("mpj,mp->mj", weighted, response - eta)


def levenberg_marquardt(curve: Curve, starts: Floats) -> tuple[Floats, float]:
    """Minimises from every start until gains fall below a millionth, then the best to the last bits.

    Args:
        curve: the problem.
        starts: [M, J].

    Returns:
        The best parameters [J] and their objective.
    """
    rough, value = _minimize(curve, np.array(starts, dtype=np.float64), 1e-6, 60)
    best = int(np.argmin(value))
    fine, value = _minimize(curve, rough[best : best + 1], 1e-13, _ITERATIONS)
    return fine[0], float(value[0])


def _minimize(curve: Curve, p: Floats, tolerance: float, iterations: int) -> tuple[Floats, Floats]:
    """Levenberg-Marquardt from every row of p; a row stops when a step gains less than `tolerance` of its objective."""
    eta = curve.eta(p)
    value = curve.value(eta)
    damping = np.full(len(p), 1e-3)
    settled = ~np.isfinite(value)
    value = np.where(settled, np.inf, value)
    for _ in range(iterations):
        if settled.all():
            break
        hessian, right = normal_equations(curve, p, eta)
        step = _damped_step(hessian, right, damping)
        moved_eta = curve.eta(p + step)
        moved_value = curve.value(moved_eta)
        better = np.isfinite(moved_value) & (moved_value <= value) & ~settled
        gain = np.where(better, value - moved_value, 0.0)
        stalled = better & (gain <= tolerance * value)
        p, eta = np.where(better[:, None], p + step, p), np.where(better[:, None], moved_eta, eta)
        value = np.where(better, moved_value, value)
        damping = np.clip(np.where(better, damping * 0.2, damping * 5.0), 1e-14, 1e14)
        settled = settled | stalled | (damping >= 1e13) | (value <= 1e-28)
    return p, value


def _damped_step(hessian: Floats, right: Floats, damping: Floats) -> Floats:
    """Marquardt's step, scaled by the diagonal and limited to 2 in every parameter."""
    diagonal = np.einsum("mjj->mj", hessian)
    scale = np.sqrt(np.maximum(diagonal, 1e-20 + 1e-14 * diagonal.max(-1, keepdims=True)))
    unit = hessian / (scale[:, :, None] * scale[:, None, :])
    unit = unit + damping[:, None, None] * np.eye(hessian.shape[-1])
    good = np.isfinite(unit).all((1, 2)) & np.isfinite(right).all(1)
    unit[~good], right = np.eye(hessian.shape[-1]), np.where(good[:, None], right, 0.0)
    step = np.linalg.solve(unit, (right / scale)[..., None])[..., 0] / scale
    return np.clip(step, -2.0, 2.0)
