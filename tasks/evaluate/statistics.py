"""Scores of graded samples: the unbiased estimator of pass@k."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb


def pass_at(k: int, samples: int, right: int) -> float:
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


def mean_pass_at(k: int, samples: int, right: Sequence[int]) -> float:
    """Mean of `pass_at` over problems; `right` counts the right samples of each."""
    return sum(pass_at(k, samples, count) for count in right) / len(right)
