"""What graded samples add up to: pass@1 with its Wilson interval and the unbiased estimator of pass@k."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb, sqrt

from tasks.records.samples import Sample
from tasks.records.scores import Score

Z_95 = 1.959963984540054


def wilson_interval(proportion: float, trials: int, z: float = Z_95) -> tuple[float, float]:
    """Wilson's score interval of a proportion.

    center = (p + z²/2n) / (1 + z²/n), half width = z/(1 + z²/n) sqrt(p (1-p)/n + z²/4n²)

    Args:
        proportion: observed, p; with several samples per problem a mean of proportions, which makes the interval
            conservative (problems are the trials, the samples of one problem are not independent).
        trials: number of problems n, at least 1.
        z: normal quantile.

    Returns:
        Lower and upper end, within [0, 1].
    """
    if trials < 1 or not 0.0 <= proportion <= 1.0:
        raise ValueError(f"a proportion within [0, 1] of at least one trial is needed, not {proportion} of {trials}")
    shrink = 1.0 + z * z / trials
    center = (proportion + z * z / (2 * trials)) / shrink
    half = z / shrink * sqrt(proportion * (1.0 - proportion) / trials + z * z / (4 * trials * trials))
    # At p = 0 and p = 1 the end of the interval is p itself; rounding may put it on the other side.
    return min(proportion, max(0.0, center - half)), max(proportion, min(1.0, center + half))


def pass_at_k(k: int, samples: int, right: int) -> float:
    """Unbiased estimate of the chance that at least one of k samples is right: 1 - C(n-c, k) / C(n, k).

    Source: Chen et al., arXiv 2107.03374, equation 1; in whole numbers, so that nothing overflows or cancels.

    Args:
        k: samples a user would take, 1 <= k <= samples.
        samples: number of samples, n.
        right: right ones among them, c.
    """
    if not 1 <= k <= samples or not 0 <= right <= samples:
        raise ValueError(f"pass@{k} cannot be estimated from {right} right of {samples} samples")
    return 1.0 - comb(samples - right, k) / comb(samples, k)


def mean_pass_at_k(k: int, samples: int, right: Sequence[int]) -> float:
    """Mean of `pass_at_k` over problems; `right` counts the right samples of each."""
    return sum(pass_at_k(k, samples, count) for count in right) / len(right)


def score_of(name: str, benchmark: str, samples: Sequence[Sample], pass_ks: Sequence[int], engine: str) -> Score:
    """Adds graded samples up; the seconds are left at 0 for the caller, who measured them.

    Args:
        name: of the policy.
        benchmark: name of the set.
        samples: all samples of the set, the same number for each problem.
        pass_ks: k of pass@k; those above the samples per problem are left out.
        engine: which engine sampled.
    """
    right: dict[str, int] = {}
    counts: dict[str, int] = {}
    for row in samples:
        right[row.problem_id] = right.get(row.problem_id, 0) + (row.status == "right")
        counts[row.problem_id] = counts.get(row.problem_id, 0) + 1
    if len(set(counts.values())) != 1:
        raise ValueError(f"{name} on {benchmark}: problems differ in their number of samples")
    n = next(iter(counts.values()))
    pass_at_1 = mean_pass_at_k(1, n, list(right.values()))
    low, high = wilson_interval(pass_at_1, len(right))
    return Score(
        run_id=name,
        benchmark=benchmark,
        problems=len(right),
        samples=n,
        right=sum(right.values()),
        pass_at_1=pass_at_1,
        low=low,
        high=high,
        pass_at_k={str(k): mean_pass_at_k(k, n, list(right.values())) for k in pass_ks if k <= n},
        truncated=sum(row.finish == "length" for row in samples) / len(samples),
        mean_length=sum(row.tokens for row in samples) / len(samples),
        unjudged=sum(row.status == "unjudged" for row in samples),
        seconds=0.0,
        tokens_per_second=0.0,
        engine=engine,
    )
