"""Evaluates a tree: exactly where everything is rational, else by mpmath to `DIGITS` digits, within bounds."""

from __future__ import annotations

import operator
import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import mpmath

from tasks.grading.second_opinion.nodes import Node, UnreadError, walk

DIGITS = 60
_AGREEING = mpmath.mpf(10) ** -35
_NOISE = mpmath.mpf(10) ** -45
_MAX_BITS = 40_000
"""Of an exact number; what is longer is evaluated by mpmath."""
_MAX_MAGNITUDE = 10**6
CONSTANTS = {"e": mpmath.e, "pi": mpmath.pi, "i": mpmath.mpc(0, 1)}
Value = Any
"""A Fraction where exact, else an mpmath number."""

_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "+": operator.add, "*": operator.mul, "/": operator.truediv, "neg": operator.neg, "abs": abs,
}  # fmt: skip
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    name: getattr(mpmath, name) for name in ("sin", "cos", "tan", "cot", "sec", "csc", "sinh", "cosh", "tanh", "exp")
} | {"arcsin": mpmath.asin, "arccos": mpmath.acos, "arctan": mpmath.atan}


def letters(*nodes: Node) -> set[str]:
    """Returns the names of trees that have no value of their own."""
    names = {each.name for node in nodes for each in walk(node) if each.kind == "symbol"}
    return names - CONSTANTS.keys() - {"infty", "..."}


def points(names: set[str], kind: str) -> dict[str, Fraction]:
    """Returns values for letters, always the same for the same letters.

    Args:
        names: the letters.
        kind: `positive` or `negative` rationals, or `whole` numbers; anything behind a `-` makes another draw.
    """
    generator = random.Random(f"{kind} {sorted(names)}")
    if kind.startswith("whole"):
        return {name: Fraction(generator.randint(3, 19)) for name in sorted(names)}
    sign = -1 if kind.startswith("negative") else 1
    return {name: sign * Fraction(generator.randint(31, 307), 97) for name in sorted(names)}


def evaluate(node: Node, at: Mapping[str, Fraction]) -> Value:
    """Returns the value of an expression, the letters standing for the values `at` gives them.

    Raises:
        UnreadError: it is no expression, undefined at this point, or out of bounds.
    """
    try:
        with mpmath.workdps(DIGITS):
            return _value(node, at)
    except (ArithmeticError, ValueError, TypeError, mpmath.libmp.NoConvergence) as error:
        raise UnreadError(f"cannot be evaluated: {error}") from error


def same(one: Value, other: Value) -> bool:
    """Tells whether two values are equal: exactly where both are exact, else to 35 digits.

    Raises:
        UnreadError: both are so large that 35 digits do not show a difference of 1.
    """
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    with mpmath.workdps(DIGITS):
        first, second = _real(one), _real(other)
        distance, size = abs(first - second), max(abs(first), abs(second))
        equal = distance <= _AGREEING * size or distance <= _NOISE
    if equal and size > 1 / _AGREEING:
        raise UnreadError("values too large to compare")
    return bool(equal)


def _real(value: Value) -> Any:
    return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _checked(value: Value) -> Value:
    if isinstance(value, Fraction):
        if value.numerator.bit_length() + value.denominator.bit_length() <= _MAX_BITS:
            return value
        value = _real(value)
    if not mpmath.isfinite(value) or (value and abs(mpmath.mag(value)) > _MAX_MAGNITUDE):
        raise UnreadError("a value out of bounds")
    return value


def _value(node: Node, at: Mapping[str, Fraction]) -> Value:
    if node.kind == "number":
        return node.value
    if node.kind == "symbol":
        if node.name in at:
            return at[node.name]
        if node.name not in CONSTANTS:
            raise UnreadError(f"{node.name} has no value")
        return +CONSTANTS[node.name]
    if node.kind == "quantity":
        return _value(node.args[0], at)
    if node.kind == "deg":
        return _real(_value(node.args[0], at)) * mpmath.pi / 180
    return _checked(_applied(node.kind, [_value(each, at) for each in node.args]))


def _applied(kind: str, values: list[Value]) -> Value:
    if not all(isinstance(value, Fraction) for value in values):
        values = [_real(value) for value in values]
    first, *others = values
    if kind in _ARITHMETIC:
        return _ARITHMETIC[kind](*values)
    if kind == "^":
        return _power(first, others[0])
    if kind == "sqrt":
        return _root(first, _whole(others[0], 100) if others else 2)
    if kind == "!":
        return _factorial(first)
    if kind == "binom":
        return _factorial(first) / (_factorial(others[0]) * _factorial(first - others[0]))
    if kind in ("ln", "log"):
        logarithms = [mpmath.log(_real(value)) for value in values]
        return logarithms[0] / logarithms[1] if others else logarithms[0]
    if kind not in _FUNCTIONS or abs(first) > 10**9:
        raise UnreadError(f"{kind} has no value")
    return _FUNCTIONS[kind](_real(first))


def _power(base: Value, exponent: Value) -> Value:
    exact = isinstance(base, Fraction) and isinstance(exponent, Fraction) and exponent.denominator == 1
    if exact and abs(exponent) * max(base.numerator.bit_length(), base.denominator.bit_length()) <= _MAX_BITS:
        return base ** int(exponent)
    base, exponent = _real(base), _real(exponent)
    if base == 0 or abs(exponent) * (abs(mpmath.mag(base)) + 1) > _MAX_MAGNITUDE:
        raise UnreadError("a power out of bounds")
    return mpmath.power(base, exponent)


def _root(value: Value, index: int) -> Value:
    number = _real(value)
    if index % 2 and mpmath.im(number) == 0 and mpmath.re(number) < 0:
        return -mpmath.root(-number, index)
    return mpmath.root(number, index)


def _factorial(value: Value) -> Value:
    if isinstance(value, Fraction) and value.denominator == 1:
        return Fraction(int(mpmath.libmp.ifac(_whole(value, 3_000))))
    if abs(value) > 10**4:
        raise UnreadError("a factorial out of bounds")
    return mpmath.gamma(_real(value) + 1)


def _whole(value: Value, largest: int) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1 or not 0 <= value <= largest:
        raise UnreadError("not a whole number within bounds")
    return int(value)
