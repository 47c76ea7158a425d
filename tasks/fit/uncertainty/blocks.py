"""Autocorrelated residuals of one run: how their variance adds up, and moving blocks of them (Kuensch 1989)."""

from __future__ import annotations

import numpy as np

from tasks.fit.data.measurements import Floats

# Series longer than this are averaged over neighbors first: the sums that are drawn hardly change.
_LONGEST = 512


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
    root = np.sqrt(np.where(weight > 0, weight, 1.0))[order]
    unit = root * residual[order]
    weighted = (np.where(weight > 0, weight, 0.0)[order] / root)[:, None] * design[order]
    unit, weighted = _grouped(unit - unit.mean(), weighted)
    groups = len(unit)
    block = min(max(round(2.0 * groups ** (1 / 3)), 2), max(groups // 3, 1))
    # Residuals of a fitted line are smaller than errors (P - 2 of P), and blocks of a series that sums to 0 miss what
    # spans their ends: (1 - b / P) over (1 - 1 / P), which the first factor holds.
    spans = 1.0 if block == 1 else (1.0 - block / groups) / (1.0 - 1.0 / groups)
    unit = unit * np.sqrt(length / max(length - 2, 1) / spans)
    starts = np.arange(groups - block + 1)
    total = np.zeros((draws, design.shape[1]))
    for begin in range(0, groups, block):
        width = min(block, groups - begin)
        sums = unit[starts[:, None] + np.arange(width)] @ weighted[begin : begin + width]
        # The ends of a series are in fewer blocks than its middle: a bent series would move all draws to one side.
        total += (sums - sums.mean(axis=0))[rng.integers(0, len(starts), size=draws)]
    return total


def _grouped(unit: Floats, weighted: Floats) -> tuple[Floats, Floats]:
    """A long series as at most `_LONGEST` means of neighbors, with the sums of what multiplies them."""
    size = -(-len(unit) // _LONGEST)
    if size == 1:
        return unit, weighted
    starts = np.arange(0, len(unit), size)
    counts = np.diff(np.r_[starts, len(unit)])
    return np.add.reduceat(unit, starts) / counts, np.add.reduceat(weighted, starts)
