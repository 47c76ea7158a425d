"""Statistics of graded samples: pass@k, and the interval of a proportion."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt

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


def pass_at_k(k: int, samples: int, right: int) -> float:
    """Unbiased estimate of the chance that at least one of k samples is right: 1 - C(n-c, k) / C(n, k).

    Source: Chen et al., arXiv 2107.03374, equation 1; in whole numbers, so that nothing overflows or cancels.

    Args:
        k: samples a user would draw, 1 <= k <= samples.
        samples: samples drawn, n.
        right: right ones among them, c.
    """
    if not 1 <= k <= samples or not 0 <= right <= samples:
        raise ValueError(f"pass@{k} cannot be estimated from {right} right of {samples} samples")
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def mean_pass_at_k(k: int, samples: int, right: Sequence[int]) -> float:
    """Mean of `pass_at_k` over problems; `right` counts the right samples of each."""
    return sum(pass_at_k(k, samples, count) for count in right) / len(right)
