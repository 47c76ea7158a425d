"""Autocorrelated residuals of one run: how their variance adds up, and moving blocks of them (Kuensch 1989)."""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats


def long_run_ratio(residual: Floats) -> float:
    """Long-run variance over variance of a residual series (Bartlett window): how autocorrelation adds up."""
    length = len(residual)
    lags = min(int(np.ceil(1.5 * length ** (1 / 3))), length - 2)
    total = float(residual @ residual)
    if lags < 1 or total <= 0:
        return 1.0
    weighted = [(1 - lag / (lags + 1)) * float(residual[lag:] @ residual[:-lag]) / total for lag in range(1, lags + 1)]
    return max(1.0 + 2.0 * sum(weighted), 0.1)


def block_scores(
    x: Floats, residual: Floats, weight: Floats, design: Floats, rng: np.random.Generator, draws: int
) -> Floats:
    """Draws of sum_p weight_p design_p e*_p over one run, e* made of moving blocks of its standardized residuals.

    Args:
        x: log10 X, the order of the run [P].
        residual: working residuals [P], of variance proportional to 1 / weight.
        weight: working weights [P].
        design: derivative of the model at each point by its J parameters [P, J].
        rng: the generator.
        draws: how many, B.

    Returns:
        Sums [B, J].
    """
    order = np.argsort(x, kind="stable")
    length = len(order)
    block = min(max(round(2.0 * length ** (1 / 3)), 2), max(length // 3, 1))
    root = np.sqrt(np.where(weight > 0, weight, 1.0))[order]
    unit = root * residual[order]
    # Residuals of a fitted line are smaller than errors (P - 2 of P), and blocks miss what spans their ends (1 - b /
    # P).
    unit = (unit - unit.mean()) * np.sqrt(length / max(length - 2, 1) / (1.0 - block / length))
    weighted = (weight / np.where(weight > 0, root[np.argsort(order)], 1.0))[order, None] * design[order]
    starts = np.arange(length - block + 1)
    total = np.zeros((draws, design.shape[1]))
    for begin in range(0, length, block):
        width = min(block, length - begin)
        sums = unit[starts[:, None] + np.arange(width)] @ weighted[begin : begin + width]
        total += sums[rng.integers(0, len(starts), size=draws)]
    return total
