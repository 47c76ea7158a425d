"""Evaluates a tree: exactly where everything is rational, else by mpmath to `DIGITS` digits, within bounds."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

import mpmath

from tasks.grading.second_opinion.nodes import Apply, Node, Number, Quantity, Symbol, UnreadError, walk

DIGITS = 60
MAX_BITS = 40_000
"""Of an exact number; what is longer is evaluated by mpmath."""
_MAX_MAGNITUDE = 10**6
_MAX_DIGITS = 3_000
_GUARD_DIGITS = 25
_NOISE = mpmath.mpf(10) ** -45
CONSTANTS = {"e", "pi", "i", "infty", "..."}
Value = Any
"""A Fraction where exact, else an mpmath number."""

_FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "sin": mpmath.sin, "cos": mpmath.cos, "tan": mpmath.tan, "cot": mpmath.cot, "sec": mpmath.sec, "csc": mpmath.csc,
    "arcsin": mpmath.asin, "arccos": mpmath.acos, "arctan": mpmath.atan,
    "sinh": mpmath.sinh, "cosh": mpmath.cosh, "tanh": mpmath.tanh, "exp": mpmath.exp,
}  # fmt: skip


def letters(node: Node) -> set[str]:
    """Returns the names of a tree that have no value of their own."""
    return {each.name for each in walk(node) if isinstance(each, Symbol)} - CONSTANTS


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


def evaluate(node: Node, at: Mapping[str, Fraction], digits: int = DIGITS) -> Value:
    """Returns the value of an expression.

    Args:
        node: the expression.
        at: values of its letters.
        digits: decimal digits of what is not exact.

    Raises:
        UnreadError: it is no expression, undefined at this point, or out of bounds.
    """
    try:
        with mpmath.workdps(digits):
            return _checked(_value(node, at))
    except (ZeroDivisionError, ValueError, OverflowError, mpmath.libmp.NoConvergence) as error:
        raise UnreadError(f"cannot be evaluated: {error}") from error


def same(one: Value, other: Value, digits: int = DIGITS) -> bool:
    """Tells whether two values are equal: exactly where both are exact, else to all digits but the guard digits."""
    if isinstance(one, Fraction) and isinstance(other, Fraction):
        return one == other
    with mpmath.workdps(digits):
        first, second = _real(one), _real(other)
        distance = abs(first - second)
        return bool(
            distance <= mpmath.mpf(10) ** (_GUARD_DIGITS - digits) * max(abs(first), abs(second)) or distance <= _NOISE
        )


def digits_for(value: Value) -> int:
    """Returns the digits at which a difference of 1 shows beside a value.

    Raises:
        UnreadError: they are too many.
    """
    size = abs(value)
    digits = DIGITS if size < 1 else DIGITS + int(mpmath.mag(_real(size)) * 0.302)
    if digits > _MAX_DIGITS:
        raise UnreadError("a value too large to compare with another")
    return digits


def _real(value: Value) -> Any:
    return mpmath.mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _checked(value: Value) -> Value:
    if isinstance(value, Fraction):
        if value.numerator.bit_length() + value.denominator.bit_length() > MAX_BITS:
            return _checked(_real(value))
        return value
    if not mpmath.isfinite(value) or (value and abs(mpmath.mag(value)) > _MAX_MAGNITUDE):
        raise UnreadError("a value out of bounds")
    return value


def _value(node: Node, at: Mapping[str, Fraction]) -> Value:
    match node:
        case Number():
            return node.value
        case Symbol():
            return _symbol(node.name, at)
        case Quantity():
            return _value(node.value, at)
        case Apply(name="deg"):
            return _real(_value(node.arguments[0], at)) * mpmath.pi / 180
        case Apply():
            return _checked(_apply(node.name, [_value(each, at) for each in node.arguments]))
        case _:
            raise UnreadError("not an expression")


def _symbol(name: str, at: Mapping[str, Fraction]) -> Value:
    if name in at:
        return at[name]
    constants = {"e": mpmath.e, "pi": mpmath.pi, "i": mpmath.mpc(0, 1)}
    if name not in constants:
        raise UnreadError(f"{name} has no value")
    return +constants[name]


def _apply(name: str, values: list[Value]) -> Value:
    first, *others = values
    exact = all(isinstance(value, Fraction) for value in values)
    if not exact:
        values = [_real(value) for value in values]
        first, *others = values
    match name:
        case "+":
            return first + others[0]
        case "*":
            return first * others[0]
        case "/":
            return first / others[0]
        case "neg":
            return -first
        case "^":
            return _power(first, others[0], exact)
        case "sqrt":
            return _root(first, 2, exact)
        case "root":
            return _root(first, _whole(others[0], 1, 100), isinstance(first, Fraction))
        case "abs":
            return abs(first)
        case "!":
            return _factorial(first)
        case "binom":
            return _binomial(first, others[0])
        case "floor" | "ceil":
            return _rounded(name, first)
        case "ln" | "log":
            return _logarithm(first, *others)
    if name not in _FUNCTIONS:
        raise UnreadError(f"{name} has no value")
    argument = _real(first)
    if abs(argument) > 10**9:
        raise UnreadError("an argument out of bounds")
    return _FUNCTIONS[name](argument)


def _power(base: Value, exponent: Value, exact: bool) -> Value:
    if exact and exponent.denominator == 1:
        bits = max(base.numerator.bit_length(), base.denominator.bit_length())
        if abs(exponent) * bits <= MAX_BITS:
            return base ** int(exponent)
    if exact and exponent.denominator == 2 and base >= 0:
        root = _root(base, 2, True)
        if isinstance(root, Fraction):
            return _power(root, Fraction(exponent.numerator), True)
    base, exponent = _real(base), _real(exponent)
    if base == 0 or abs(exponent) > 10**9:
        raise UnreadError("a power out of bounds")
    if abs(exponent) * (abs(mpmath.mag(base)) + 1) > _MAX_MAGNITUDE:
        raise UnreadError("a power out of bounds")
    return mpmath.power(base, exponent)


def _root(value: Value, index: int, exact: bool) -> Value:
    if exact and value >= 0:
        top, bottom = _whole_root(value.numerator, index), _whole_root(value.denominator, index)
        if top is not None and bottom is not None:
            return Fraction(top, bottom)
    number = _real(value)
    if index % 2 and mpmath.im(number) == 0 and mpmath.re(number) < 0:
        return -mpmath.root(-number, index)
    return mpmath.root(number, index)


def _whole_root(value: int, index: int) -> int | None:
    if value.bit_length() > 4_000:
        return None
    with mpmath.workdps(30 + value.bit_length()):
        root = int(mpmath.nint(mpmath.root(value, index)))
    return root if root**index == value else None


def _whole(value: Value, low: int, high: int) -> int:
    if not isinstance(value, Fraction) or value.denominator != 1 or not low <= value <= high:
        raise UnreadError("not a whole number within bounds")
    return int(value)


def _factorial(value: Value) -> Value:
    if isinstance(value, Fraction) and value.denominator == 1:
        number = _whole(value, 0, 3_000)
        return Fraction(int(mpmath.libmp.ifac(number)))
    if abs(value) > 10**4:
        raise UnreadError("a factorial out of bounds")
    return mpmath.gamma(_real(value) + 1)


def _binomial(upper: Value, lower: Value) -> Value:
    return _factorial(upper) / _mixed(_factorial(lower), _factorial(upper - lower), upper)


def _mixed(one: Value, other: Value, like: Value) -> Value:
    if isinstance(one, Fraction) and isinstance(other, Fraction) and isinstance(like, Fraction):
        return one * other
    return _real(one) * _real(other)


def _rounded(name: str, value: Value) -> Value:
    if isinstance(value, Fraction):
        return Fraction(value.__floor__() if name == "floor" else value.__ceil__())
    if mpmath.im(value) != 0 or abs(value) > 10**30 or abs(value - mpmath.nint(value)) < mpmath.mpf(10) ** -20:
        raise UnreadError("cannot be rounded surely")
    return Fraction(int(mpmath.floor(value) if name == "floor" else mpmath.ceil(value)))


def _logarithm(value: Value, base: Value | None = None) -> Value:
    if value == 0 or base == 0 or base == 1:
        raise UnreadError("a logarithm without value")
    logarithm = mpmath.log(_real(value))
    return logarithm if base is None else logarithm / mpmath.log(_real(base))
