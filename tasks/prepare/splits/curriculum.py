"""Difficulty: the curriculum's order, the strata of equal difficulty and the subsampling that keeps the mix.

All functions take pass rates (NaN = unknown, which counts as hardest) and levels (-1 = none) as arrays and return row
numbers, so that a million rows need no million objects.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.study.errors import InputError

MAX_DISTINCT_RATES = 33
LENGTH_BINS = 10

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


def split_heldout(rates: Rates, lengths: Integers, count: int, easy_threshold: float, seed: int) -> Integers:
    """Chooses held-out rows: half easy, half hard; at random from bins of length where no pass rate is known.

    Args:
        rates: pass rates of cleaned problems without duplicates, NaN = unknown = hard where others are known.
        lengths: of the problems' texts, characters.
        count: held-out problems, half easy; of an odd number the extra one is hard.
        easy_threshold: easy means pass rate >= this.
        seed: decides the draw.

    Returns:
        Row numbers, ascending.

    Raises:
        InputError: there are not enough problems, or not enough easy or hard ones.
    """
    if np.isnan(rates).all():
        return _split_by_length(lengths, count, seed)
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
                f"but the source has {len(rows)}; {int(np.isnan(rates).sum())} of its {len(rates)} problems have no "
                "pass rate: `rlscale prepare --measure-pass-rate MODEL` measures them"
            )
        heldout.append(generator.choice(rows, size=quota, replace=False))
    return np.sort(np.concatenate(heldout))


def _split_by_length(lengths: Integers, count: int, seed: int) -> Integers:
    """Rows drawn at random from `LENGTH_BINS` bins of equally many problems, from each in proportion, ascending.

    Raises:
        InputError: the source has no more problems than are wanted.
    """
    if len(lengths) <= count:
        raise InputError(f"prepare.heldout: {count} problems wanted, but the source has {len(lengths)}")
    generator = np.random.default_rng([seed, 2])
    ordered = generator.permutation(len(lengths))
    ordered = ordered[np.argsort(lengths[ordered], kind="stable")]
    bins = np.array_split(ordered, min(LENGTH_BINS, count))
    quotas = np.diff(np.round(np.cumsum([0, *map(len, bins)]) * count / len(lengths)).astype(int))
    chosen = [generator.choice(rows, size=quota, replace=False) for rows, quota in zip(bins, quotas, strict=True)]
    return np.sort(np.concatenate(chosen))
