"""The held-out split: seeded, half easy and half hard, disjoint from training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.errors import InputError
from tasks.records import Problem


def split_heldout(
    problems: Sequence[Problem], count: int, easy_threshold: float, seed: int
) -> tuple[list[Problem], list[Problem]]:
    """Splits off held-out problems.

    Args:
        problems: cleaned problems without near-duplicates, so that disjoint rows are disjoint problems.
        count: held-out problems, half easy; of an odd number the extra one is hard.
        easy_threshold: easy means pass rate >= this; an unknown pass rate is hard.
        seed: decides the draw.

    Returns:
        (held-out problems, all others), each in the order of `problems`.

    Raises:
        InputError: there are not enough easy or hard problems.
    """
    easy = [i for i, p in enumerate(problems) if p.pass_rate is not None and p.pass_rate >= easy_threshold]
    hard = sorted(set(range(len(problems))) - set(easy))
    generator = np.random.default_rng([seed, 2])
    taken: set[int] = set()
    for name, rows, wanted in (("easy", easy, count // 2), ("hard", hard, count - count // 2)):
        if len(rows) < wanted:
            raise InputError(
                f"prepare.heldout: {wanted} {name} problems wanted (pass rate threshold {easy_threshold}), "
                f"but the source has {len(rows)}"
            )
        taken.update(generator.choice(rows, size=wanted, replace=False).tolist())
    rest = [problem for index, problem in enumerate(problems) if index not in taken]
    return [problems[index] for index in sorted(taken)], rest
