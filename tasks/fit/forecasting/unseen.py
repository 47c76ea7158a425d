"""The loss of a size nobody has trained, as a record, by `rule`."""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Measurements
from tasks.fit.forecasting.forecast import as_loss, extrapolation
from tasks.fit.forecasting.line_prior import DAMPING
from tasks.fit.forecasting.rule import InitialLoss, Target, forecast_curve
from tasks.records.fits import ForecastRecord
from tasks.study.errors import InputError

# What a record calls the rule in place of a law.
NAME = "damped pivot"


def forecast_unseen(
    points: Measurements,
    variant: str,
    n: float,
    resource: float,
    damping: float = DAMPING,
    initial: InitialLoss | None = None,
) -> ForecastRecord:
    """Predicted loss of one measurement of a run at size n and resource X.

    Args:
        points: the trained sizes.
        variant: their group's name.
        n: a size that is not among them.
        resource: X.
        damping: delta of `line_prior`.
        initial: the loss of the size before training, where it is known.

    Raises:
        InputError: N or X is not positive and finite.
    """
    if not (np.isfinite([n, resource]).all() and n > 0 and resource > 0):
        raise InputError(f"forecast: N and X must be positive, found {n:g} and {resource:g}")
    found = forecast_curve(points, Target(float(n), None, initial, damping), np.log10([resource]))
    loss = vars(as_loss(found.measured.intervals()[0]))
    notes, n_factor, x_factor = extrapolation(points, n, resource)
    return ForecastRecord(
        variant=variant,
        resource=points.unit,
        law=NAME,
        n=float(n),
        x=float(resource),
        seen_size=False,
        loss=loss.pop("value"),
        **loss,
        n_factor=n_factor,
        x_factor=x_factor,
        warnings=[*notes, f"prior: {found.prior}", *found.notes],
    )
