"""Arithmetic expressions in graded levels: the text of the miniature study.

A level is a handful of forms (operator, digits of the operands) that grow with the level; see `FORMS`. Levels 1 to 5
are meant for training, higher ones for out-of-distribution benchmarks. Subtractions never go below zero. Two
expressions are the same problem when their `key` is equal: `7+5=` and `5+7=` are.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from tasks.study.errors import InputError

MAX_LEVEL = 8


class Form(NamedTuple):
    """A shape of expression: operator and how many digits the two operands have."""

    operator: str
    digits_a: int
    digits_b: int


FORMS: dict[int, tuple[Form, ...]] = {
    1: (Form("+", 1, 1), Form("-", 1, 1)),
    2: (Form("+", 2, 1), Form("-", 2, 1)),
    3: (Form("+", 2, 2), Form("-", 2, 2)),
    4: (Form("+", 3, 1), Form("-", 3, 1), Form("*", 2, 1)),
    5: (Form("+", 3, 2), Form("-", 3, 2)),
    6: (Form("+", 3, 3), Form("-", 3, 3), Form("*", 2, 2)),
    7: (Form("+", 4, 4), Form("-", 4, 4), Form("*", 3, 2)),
    8: (Form("+", 5, 5), Form("-", 5, 5), Form("*", 3, 3)),
}


@dataclass(frozen=True, slots=True)
class Expression:
    """An expression with one integer answer.

    Attributes:
        a: first operand.
        operator: `+`, `-` or `*`.
        b: second operand.
        level: the level it was drawn for.
    """

    a: int
    operator: str
    b: int
    level: int

    @property
    def text(self) -> str:
        """What a model is shown: `83-47=`."""
        return f"{self.a}{self.operator}{self.b}="

    @property
    def answer(self) -> str:
        """The result in decimal digits."""
        if self.operator == "+":
            return str(self.a + self.b)
        return str(self.a - self.b if self.operator == "-" else self.a * self.b)

    @property
    def key(self) -> str:
        """Equal for equal problems: the operands of + and * are put in ascending order."""
        if self.operator == "-" or self.a <= self.b:
            return f"{self.a}{self.operator}{self.b}"
        return f"{self.b}{self.operator}{self.a}"

    @property
    def digit_operations(self) -> int:
        """Elementary digit operations of the schoolbook method, carries and borrows counted as one each."""
        if self.operator == "+":
            return _addition_operations(self.a, self.b)
        if self.operator == "-":
            return _subtraction_operations(self.a, self.b)
        return _product_operations(self.a, self.b)


def _addition_operations(a: int, b: int) -> int:
    operations, carry = 0, 0
    while a or b or not operations:
        operations += 1 + carry
        carry = int(a % 10 + b % 10 + carry > 9)
        a, b = a // 10, b // 10
    return operations + carry


def _subtraction_operations(a: int, b: int) -> int:
    operations, borrow = 0, 0
    for column in range(len(str(a))):
        place = 10**column
        operations += 1 + borrow
        borrow = int(a // place % 10 - borrow < b // place % 10)
    return operations


def _product_operations(a: int, b: int) -> int:
    operations, total, place = 0, 0, 1
    for digit in reversed(str(b)):
        carry = 0
        for other in reversed(str(a)):
            operations += 1 + (carry > 0)
            carry = (int(digit) * int(other) + carry) // 10
        partial = a * int(digit)
        if place > 1:
            operations += _addition_operations(total // place, partial)
        total += partial * place
        place *= 10
    return operations


def draw(level: int, count: int, seed: int, exclude: Collection[str] = ()) -> list[Expression]:
    """Draws distinct problems of one level.

    Args:
        level: 1 to `MAX_LEVEL`.
        count: how many.
        seed: equal seeds give equal draws; levels draw independently.
        exclude: keys that must not be drawn.

    Returns:
        `count` expressions with distinct keys, in random order.

    Raises:
        InputError: the level has no `count` problems besides the excluded ones.
    """
    available = capacity(level)
    if count > available:
        raise InputError(f"arithmetic level {level}: {count} problems wanted, but it has {available}")
    generator = np.random.default_rng([seed, level, 0])
    seen = set(exclude)
    drawn: list[Expression] = []
    for _ in range(200):
        for expression in _candidates([level], 2 * (count - len(drawn)) + 64, generator):
            if len(drawn) == count:
                return drawn
            if expression.key not in seen:
                seen.add(expression.key)
                drawn.append(expression)
    if len(drawn) == count:
        return drawn
    raise InputError(f"arithmetic level {level}: {count} problems wanted, but it has {available} and some are excluded")


def sample(levels: Sequence[int], count: int, seed: int, exclude: Collection[str] = ()) -> list[Expression]:
    """Draws expressions with replacement, levels and forms with equal chances: a stream to pretrain on.

    Args:
        levels: the levels to mix.
        count: how many.
        seed: equal seeds give equal draws.
        exclude: keys that never appear (held-out and benchmark problems).

    Returns:
        `count` expressions in random order.

    Raises:
        InputError: nothing is left besides the excluded problems.
    """
    generator = np.random.default_rng([seed, 1])
    barred = frozenset(exclude)
    drawn: list[Expression] = []
    for _ in range(200):
        fresh = _candidates(levels, (count - len(drawn)) * 11 // 10 + 16, generator)
        drawn += [expression for expression in fresh if expression.key not in barred] if barred else fresh
        if len(drawn) >= count:
            return drawn[:count]
    raise InputError(f"arithmetic levels {list(levels)}: nearly every problem is excluded")


def capacity(level: int) -> int:
    """How many distinct problems (keys) a level has.

    Raises:
        InputError: there is no such level.
    """
    if level not in FORMS:
        raise InputError(f"arithmetic level {level}: expected 1 to {MAX_LEVEL}")
    total = 0
    for operator, digits_a, digits_b in FORMS[level]:
        (low_a, high_a), (low_b, high_b) = (_span(operator, digits_a), _span(operator, digits_b))
        n, m = high_a - low_a, high_b - low_b
        total += n * (n + 1) // 2 if digits_a == digits_b else n * m
    return total


def _span(operator: str, digits: int) -> tuple[int, int]:
    """Operands of so many digits: half-open range. One-digit factors start at 2, one-digit terms at 0."""
    if digits == 1:
        return (2, 10) if operator == "*" else (0, 10)
    return 10 ** (digits - 1), 10**digits


def _candidates(levels: Sequence[int], count: int, generator: np.random.Generator) -> list[Expression]:
    """Draws `count` expressions, repeats included."""
    chosen = generator.integers(len(levels), size=count)
    uniform = generator.random((count, 2))
    form_draw = generator.random(count)
    swaps = generator.random(count) < 0.5
    out: list[Expression | None] = [None] * count
    for index, level in enumerate(levels):
        capacity(level)  # refuses an unknown level
        forms = FORMS[level]
        form_of = (form_draw * len(forms)).astype(int)
        for number, (operator, digits_a, digits_b) in enumerate(forms):
            rows = np.flatnonzero((chosen == index) & (form_of == number))
            (low_a, high_a), (low_b, high_b) = (_span(operator, digits_a), _span(operator, digits_b))
            a = low_a + (uniform[rows, 0] * (high_a - low_a)).astype(np.int64)
            b = low_b + (uniform[rows, 1] * (high_b - low_b)).astype(np.int64)
            if operator == "-":
                a, b = np.maximum(a, b), np.minimum(a, b)
            else:
                a, b = np.where(swaps[rows], b, a), np.where(swaps[rows], a, b)
            for row, first, second in zip(rows.tolist(), a.tolist(), b.tolist(), strict=True):
                out[row] = Expression(first, operator, second, level)
    return [expression for expression in out if expression is not None]
