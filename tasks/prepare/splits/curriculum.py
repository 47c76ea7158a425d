"""Difficulty: the curriculum's order, the strata of equal difficulty and the subsampling that keeps the mix.

All functions take pass rates (NaN = unknown, which counts as hardest) and levels (-1 = none) as arrays and return row
numbers, so that a million rows need no million objects.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.study.errors import InputError

MAX_DISTINCT_RATES = 33

Rates = NDArray[np.float64]
Integers = NDArray[np.int64]


def curriculum(rates: Rates, levels: Integers, seed: int) -> Integers:
    """Orders rows easiest first: by pass rate, then by level, ties shuffled by the seed."""
    ties = np.random.default_rng([seed, 3]).permutation(len(rates))
    hardness = np.where(np.isnan(rates), 1.0, -rates)  # an unknown rate comes after a rate of 0
    return np.lexsort((ties, levels, hardness))


def strata(rates: Rates, levels: Integers) -> Integers:
    """Numbers the stratum of each row: one per (pass rate, level) that occurs, the hardest first.

    Where there are more than 33 pass rates they are put into bins of 1/32 first, since strata of single problems would
    keep no mix at all.
    """
    binned = np.where(np.isnan(rates), -1.0, rates)
    if len(np.unique(binned)) > MAX_DISTINCT_RATES:
        binned = np.where(binned < 0, -1.0, np.rint(binned * 32) / 32)
    _, member = np.unique(np.stack([binned, levels.astype(float)], axis=1), axis=0, return_inverse=True)
    return member.reshape(-1)


def subsample_evenly(rows: Integers, count: int) -> Integers:
    """Keeps `count` rows at even distances: the same fraction of any stretch of a curriculum, within one row."""
    return rows[(2 * np.arange(count) + 1) * len(rows) // (2 * count)]


def split_heldout(rates: Rates, count: int, easy_threshold: float, seed: int) -> Integers:
    """Chooses held-out rows.

    Args:
        rates: pass rates of cleaned problems without duplicates, NaN = unknown = hard.
        count: held-out problems, half easy; of an odd number the extra one is hard.
        easy_threshold: easy means pass rate >= this.
        seed: decides the draw.

    Returns:
        Row numbers, ascending.

    Raises:
        InputError: there are not enough easy or hard problems.
    """
    easy = rates >= easy_threshold
    generator = np.random.default_rng([seed, 2])
    heldout = []
    for name, rows, quota in (
        ("easy", np.flatnonzero(easy), count // 2),
        ("hard", np.flatnonzero(~easy), count - count // 2),
    ):
        if len(rows) < quota:
            raise InputError(
                f"prepare.heldout: {quota} {name} problems wanted (prepare.easy_threshold {easy_threshold}), "
                f"but the source has {len(rows)}"
            )
        heldout.append(generator.choice(rows, size=quota, replace=False))
    return np.sort(np.concatenate(heldout))
