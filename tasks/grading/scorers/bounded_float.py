"""Floating-point values with a bound on their error, enough to know that two results differ.

Every operation adds its own rounding, two units in the last place, to what it inherits. Where a bound would lose its
meaning (division or roots near zero, huge values) the operation raises ArithmeticError.
"""

from __future__ import annotations

import math
from typing import NamedTuple

_ROUNDING = 4.5e-16
_LARGEST = 1e15


class Ball(NamedTuple):
    """All numbers within `error` of `value`."""

    value: float
    error: float = 0.0


def rounded(value: float, inherited: float) -> Ball:
    """Returns a computed value with its inherited error and one rounding. Raises OverflowError when it is huge."""
    if not abs(value) < _LARGEST:
        raise OverflowError("too large")
    return Ball(value, inherited + _ROUNDING * abs(value))


def add(one: Ball, other: Ball) -> Ball:
    """Returns the sum."""
    return rounded(one.value + other.value, one.error + other.error)


def multiply(one: Ball, other: Ball) -> Ball:
    """Returns the product."""
    inherited = abs(one.value) * other.error + abs(other.value) * one.error + one.error * other.error
    return rounded(one.value * other.value, inherited)


def divide(one: Ball, other: Ball) -> Ball:
    """Returns the quotient."""
    room = abs(other.value) - other.error
    if room <= 100 * other.error or room == 0:
        raise ZeroDivisionError("the divisor may be zero")
    value = one.value / other.value
    return rounded(value, (one.error + abs(value) * other.error) / room)


def power(base: Ball, exponent: Ball) -> Ball:
    """Returns base^exponent for a base clear of zero; a negative base needs an exact integer exponent."""
    if base.value == 0 or abs(base.value) <= 1000 * base.error:
        raise ZeroDivisionError("the base may be zero")
    if base.value < 0 and (exponent.error or exponent.value != int(exponent.value)):
        raise ArithmeticError("no real power")
    value = math.pow(base.value, exponent.value)
    relative = abs(exponent.value) * base.error / abs(base.value) + abs(math.log(abs(base.value))) * exponent.error
    if relative > 1e-3:
        raise ArithmeticError("too uncertain")
    return rounded(value, 2 * relative * abs(value))


def certainly_different(one: Ball, other: Ball, tolerance: float) -> bool:
    """Tells whether the values differ by more than a relative tolerance, counted from size 1, whatever the errors."""
    distance = abs(one.value - other.value)
    return distance > tolerance * max(1.0, abs(one.value), abs(other.value)) + 2 * (one.error + other.error)
