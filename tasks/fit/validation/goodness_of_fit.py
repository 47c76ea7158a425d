"""How good a fit is: R2 in linear and log loss, root mean square error, AICc and BIC."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.solver.estimate import FitResult


@dataclass(frozen=True)
class Quality:
    """Goodness of fit; None where undefined (a constant, or more parameters than points)."""

    r2_linear: float | None
    r2_log: float | None
    rmse_log: float
    aicc: float | None
    bic: float | None


def r_squared(measured: Floats, predicted: Floats) -> float | None:
    """1 - residual over total sum of squares; None where the measured values do not vary."""
    total = float(((measured - measured.mean()) ** 2).sum())
    return 1.0 - float(((measured - predicted) ** 2).sum()) / total if total > 0 else None


def quality(result: FitResult) -> Quality:
    """Scores a fit on the points it was fitted to.

    -2 log-likelihood is P log(rss / P) for Gaussian objectives (the noise variance counts as a parameter) and the
    deviance for the binomial one. Points count as independent, so differences between laws are optimistic; held-out
    error (`backtest`) is what laws are chosen by.
    """
    points = result.points
    count, parameters = len(points), result.law.parameters(len(points.sizes))
    if result.options.objective == "binomial":
        minus_two_log = result.value
    else:
        parameters += 1
        minus_two_log = count * float(np.log(max(result.value, 1e-300) / count))
    spare = count - parameters - 1
    aicc = minus_two_log + 2 * parameters + 2 * parameters * (parameters + 1) / spare if spare > 0 else None
    return Quality(
        r_squared(points.loss, 10.0**result.eta),
        r_squared(points.y, result.eta),
        float(np.sqrt(np.mean(result.residual**2))),
        aicc,
        minus_two_log + parameters * float(np.log(count)),
    )
