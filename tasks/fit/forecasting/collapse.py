"""Runs that get worse: a loss that rises over the last quarter of a run is not forecast to fall again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.forecasting.curves import Clock
from tasks.fit.forecasting.mixture import Mixture

_LEAST_POINTS = 4
_LEAST_RISE = 0.02
_LEAST_Z = 3.0


@dataclass(frozen=True)
class Collapse:
    """A rise over the last quarter of a run's points.

    Attributes:
        first: loss at its begin, by the rise's line.
        last: loss at its end.
        log_x: log10 X at the end.
        span: decades of X that it took.
    """

    first: float
    last: float
    log_x: float
    span: float

    @property
    def note(self) -> str:
        """One sentence."""
        return (
            f"the loss of this run rises over its last quarter, from {self.first:.3g} to {self.last:.3g}: "
            "it is not forecast to recover"
        )

    def ahead(self, x: Floats) -> Mixture:
        """log10 L stays where it is; it may fall back, or rise on, by as much as it rose [Q]."""
        rise = np.log10(self.last / self.first)
        spread = rise * np.clip((x - self.log_x) / self.span, 0.5, 1.0)
        return Mixture(np.ones(1), np.full((1, len(x)), np.log10(self.last)), spread[None, :] ** 2)


def find_collapse(own: Measurements, clock: Clock) -> Collapse | None:
    """The rise over the last quarter of a run's points, if it is 0.02 decades or more and three standard errors."""
    order = np.argsort(own.x, kind="stable")
    late = order[-max(_LEAST_POINTS, len(order) // 4) :]
    if len(order) < 2 * _LEAST_POINTS:
        return None
    x, y = own.x[late], own.y[late]
    spread = x - x.mean()
    squares = float(spread @ spread)
    if squares <= 0:
        return None
    slope = float(spread @ y) / squares
    variance = max(float(clock.variance(float(own.n[0]), np.array([y.mean()]))[0]), float(np.var(np.diff(y))) / 2.0)
    span = float(np.ptp(x))
    if slope * span < _LEAST_RISE or slope < _LEAST_Z * np.sqrt(variance / squares):
        return None
    ends = y.mean() + slope * (np.array([x.min(), x.max()]) - x.mean())
    first, last = (float(10.0 ** min(end, 0.0)) for end in ends)
    return Collapse(first, last, float(x.max()), span) if last > first else None
