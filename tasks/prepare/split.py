"""The held-out split: seeded, half easy and half hard."""

from __future__ import annotations

import numpy as np

from tasks.errors import InputError
from tasks.prepare.curriculum import Integers, Rates


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
    taken = []
    for name, rows, wanted in (
        ("easy", np.flatnonzero(easy), count // 2),
        ("hard", np.flatnonzero(~easy), count - count // 2),
    ):
        if len(rows) < wanted:
            raise InputError(
                f"prepare.heldout: {wanted} {name} problems wanted (prepare.easy_threshold {easy_threshold}), "
                f"but the source has {len(rows)}"
            )
        taken.append(generator.choice(rows, size=wanted, replace=False))
    return np.sort(np.concatenate(taken))
