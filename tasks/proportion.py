"""The interval of a proportion, one formula for evaluation and report."""

from __future__ import annotations

from math import sqrt

Z_95 = 1.959963984540054


def wilson_interval(fraction: float, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a proportion.

    center = (p + z²/2n) / (1 + z²/n), half width = z/(1 + z²/n) sqrt(p (1-p)/n + z²/4n²)

    Args:
        fraction: observed proportion p; with several samples per problem a mean of fractions, which makes the interval
            conservative (problems are the trials, the samples of one problem are not independent).
        trials: number of problems n, at least 1.
        z: normal quantile.

    Returns:
        Lower and upper end, within [0, 1].

    Raises:
        ValueError: no trial, or a proportion outside [0, 1].
    """
    if trials < 1 or not 0.0 <= fraction <= 1.0:
        raise ValueError(f"a proportion within [0, 1] of at least one trial is needed, not {fraction} of {trials}")
    shrink = 1.0 + z * z / trials
    center = (fraction + z * z / (2 * trials)) / shrink
    half = z / shrink * sqrt(fraction * (1.0 - fraction) / trials + z * z / (4 * trials * trials))
    # At p = 0 and p = 1 the end of the interval is p itself; rounding may put it on the other side.
    return min(fraction, max(0.0, center - half)), max(fraction, min(1.0, center + half))
