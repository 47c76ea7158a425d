"""Difficulty: the curriculum's order, the strata of equal difficulty and the thinning that keeps the mix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.records import Problem

MOST_RATES = 33


def curriculum(problems: Sequence[Problem], seed: int) -> list[Problem]:
    """Orders problems easiest first: by pass rate, unknown = hardest, ties by level and then shuffled by the seed."""
    shuffled = np.random.default_rng([seed, 3]).permutation(len(problems))
    return [problems[index] for index in sorted(shuffled.tolist(), key=lambda index: difficulty(problems[index]))]


def difficulty(problem: Problem) -> tuple[float, int]:
    """Sorts problems from easy to hard; an unknown pass rate comes after a pass rate of 0."""
    return (1.0 if problem.pass_rate is None else -problem.pass_rate, problem.level or 0)


def strata(problems: Sequence[Problem]) -> list[int]:
    """Numbers the stratum of each problem of a curriculum: one per (pass rate, level) that occurs.

    Where a set has more than 33 pass rates they are put into bins of 1/32 first, since strata of single problems would
    keep no mix at all.
    """
    rates = {problem.pass_rate for problem in problems}
    keys = []
    for problem in problems:
        rate = problem.pass_rate
        coarse = round(rate * 32) if rate is not None and len(rates) > MOST_RATES else rate
        keys.append((coarse, problem.level))
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return [numbers[key] for key in keys]


def thin(problems: Sequence[Problem], count: int) -> list[Problem]:
    """Keeps `count` problems at even distances: of any stretch of a curriculum its share, within one problem."""
    return [problems[(2 * index + 1) * len(problems) // (2 * count)] for index in range(count)]
