"""The rest of a running run from its first points, and the chance that it reaches a target loss, by `rule`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats, Measurements
from tasks.fit.forecasting.forecast import as_loss
from tasks.fit.forecasting.line_prior import DAMPING
from tasks.fit.forecasting.rule import InitialLoss, Target, forecast_curve
from tasks.fit.uncertainty.inference import Interval
from tasks.study.errors import InputError


@dataclass(frozen=True)
class RunForecast:
    """Forecast of a run.

    Attributes:
        run: its name.
        n: its size.
        seen: points so far.
        k: learning efficiency of this run, posterior.
        resource: X at which losses are forecast [Q].
        loss: intervals of a measured loss at each X [Q].
        target: target loss, or None.
        chance: probability that the run's loss (evaluation noise apart) is at or below the target at each X [Q].
        prior: what the prior came from.
        notes: what was assumed, in sentences.
    """

    run: str
    n: float
    seen: int
    k: Interval
    resource: list[float]
    loss: list[Interval]
    target: float | None
    chance: list[float] | None
    prior: str
    notes: list[str]


def forecast_run(
    points: Measurements,
    run: str,
    resources: Sequence[float] | Floats | None = None,
    target: float | None = None,
    damping: float = DAMPING,
    initial: InitialLoss | None = None,
) -> RunForecast:
    """Forecasts a run from its own points so far and all other runs.

    Args:
        points: the table, the run included.
        run: its name, or an unambiguous beginning.
        resources: X to forecast at; None: from its last X to where the longest run of its size ended, at least 4 x.
        target: target loss.
        damping: of a size beyond the others, see `line_prior`.
        initial: the run's loss before training.

    Raises:
        InputError: no such run, fewer than 3 points of a run without any other, an X that is not positive, or a target
            that is no loss.
    """
    index = _find(points, run)
    own, others = points.where(points.run == index), points.where(points.run != index)
    if not len(others) and len(own) < 3:
        raise InputError(f"run {points.runs[index]}: {len(own)} points, alone a run needs at least 3 to be forecast")
    if target is not None and not 0 < target < 1:
        raise InputError(f"--target-loss: expected a loss in (0, 1), found {target:g}")
    n = float(own.n[0])
    resource = _later_resources(own, points) if resources is None else np.asarray(resources, float)
    if not (np.isfinite(resource) & (resource > 0)).all():
        raise InputError(f"--x: expected a positive number, found {resource.min():g}")
    asked = Target(n, own, initial, damping)
    found = forecast_curve(others if len(others) else None, asked, np.log10(resource))
    chance = None if target is None else found.curve.below(np.log10(target)).tolist()
    slope = found.slope.intervals()[0]
    return RunForecast(
        points.runs[index],
        n,
        len(own),
        Interval(*(-value for value in (slope.value, *list(vars(slope).values())[:0:-1]))),
        resource.tolist(),
        [as_loss(interval) for interval in found.measured.intervals()],
        target,
        chance,
        found.prior,
        found.notes,
    )


def _find(points: Measurements, run: str) -> int:
    matches = [i for i, name in enumerate(points.runs) if name == run]
    matches = matches or [i for i, name in enumerate(points.runs) if name.startswith(run)]
    if len(matches) != 1:
        known = ", ".join(points.runs[:20]) + (", ..." if len(points.runs) > 20 else "")
        raise InputError(f"run {run!r} matches {len(matches)} of the {len(points.runs)} runs ({known}); expected one")
    return matches[0]


def _later_resources(own: Measurements, points: Measurements) -> Floats:
    """Eight X beyond the run's last, evenly in log X."""
    last = float(own.resource.max())
    end = max(float(points.resource[points.n == own.n[0]].max()), 4.0 * last)
    return np.geomspace(last, end, 9)[1:]
