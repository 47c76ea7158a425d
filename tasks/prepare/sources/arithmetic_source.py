"""Arithmetic problems as raw records: the miniature's source and its benchmarks."""

from __future__ import annotations

from collections.abc import Collection

from tasks.arithmetic import Expression, capacity, draw
from tasks.prepare.sources.rows import Raw
from tasks.study.errors import InputError
from tasks.study.params import ArithmeticSource

MAX_FRACTION = 0.8


def generate(source: ArithmeticSource, count: int, seed: int, exclude: Collection[str] = ()) -> list[Raw]:
    """Draws `count` distinct problems over the levels 1 to `source.levels`.

    Args:
        source: levels and the reference solver's digit accuracy.
        count: how many, in all.
        seed: decides the draw.
        exclude: keys of problems that must not be drawn (the benchmarks').

    Raises:
        InputError: the levels do not have that many problems.
    """
    records = []
    for level, level_count in level_counts(source.levels, count).items():
        records += [_record(expression, source) for expression in draw(level, level_count, seed, exclude)]
    return records


def benchmark_records(source: ArithmeticSource, level: int, count: int, seed: int) -> list[Raw]:
    """Draws the problems of an arithmetic benchmark, all of one level."""
    return [_record(expression, source) for expression in draw(level, count, seed)]


def level_counts(levels: int, count: int) -> dict[int, int]:
    """Distributes `count` problems equally over the levels; a level gives at most 80 % of what it has.

    What a small level cannot give is distributed over the larger ones.

    Raises:
        InputError: the levels do not have that many problems.
    """
    limits = {level: int(MAX_FRACTION * capacity(level)) for level in range(1, levels + 1)}
    if count > sum(limits.values()):
        raise InputError(
            f"prepare.source: {count} arithmetic problems wanted, but levels 1 to {levels} give {sum(limits.values())}"
        )
    counts: dict[int, int] = {}
    remaining = count
    for position, level in enumerate(sorted(limits, key=lambda level: limits[level])):
        counts[level] = min(limits[level], remaining // (levels - position))
        remaining -= counts[level]
    return dict(sorted(counts.items()))


def _record(expression: Expression, source: ArithmeticSource) -> Raw:
    """An expression in the plain layout; its pass rate is `digit_accuracy ** digit_operations`."""
    return {
        "key": expression.key,
        "problem": expression.text,
        "answer": expression.answer,
        "data_source": "arithmetic",
        "pass_rate": round(source.digit_accuracy**expression.digit_operations, 6),
        "level": expression.level,
    }
