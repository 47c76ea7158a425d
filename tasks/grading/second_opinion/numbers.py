"""Compares two expressions by their values: exactly, or at fixed random points where they have letters."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import mpmath

from tasks.grading.second_opinion.nodes import Apply, Node, Number, Symbol, UnreadError, walk
from tasks.grading.second_opinion.values import DIGITS, digits_for, evaluate, letters, points, same

_APPROXIMATION_DIGITS = 4
_TRUSTED_DIGITS = 6
_WHOLE_ONLY = {"!", "binom", "floor", "ceil", "sin", "cos", "tan"}


def same_expression(one: Node, other: Node) -> bool | None:
    """Tells whether two expressions have one value; None where that cannot be told.

    A decimal that agrees with a value which has no such decimal, to all of its digits, is the same from six
    significant digits on if the value is irrational; otherwise, from four on, this cannot be told.
    """
    if one == other:
        return True
    names = letters(one) | letters(other)
    if _holds(one, Symbol("...")) or _holds(other, Symbol("...")):
        return None if not (isinstance(one, Symbol) and isinstance(other, Symbol)) else False
    try:
        if not names:
            result: bool | None = _same_numbers(one, other)
        else:
            result = _same_at_points(one, other, names)
    except UnreadError:
        return None
    if result is False and any(_is_plain_log(each) for each in (*walk(one), *walk(other))):
        return None
    return result


def _holds(node: Node, part: Node) -> bool:
    return any(each == part for each in walk(node))


def _is_plain_log(node: Node) -> bool:
    return isinstance(node, Apply) and node.name == "log" and len(node.arguments) == 1


def _same_numbers(one: Node, other: Node) -> bool | None:
    first, second = evaluate(one, {}), evaluate(other, {})
    if same(first, second):
        if isinstance(first, Fraction) and isinstance(second, Fraction):
            return True
        digits = digits_for(first)
        return digits == DIGITS or same(evaluate(one, {}, digits), evaluate(other, {}, digits), digits)
    for decimal, node, value in ((first, one, second), (second, other, first)):
        if isinstance(node, Number) and node.digits is not None and _rounds_to(decimal, node.digits, value):
            digits = _significant(decimal, node.digits)
            if digits >= _TRUSTED_DIGITS and not isinstance(value, Fraction):
                return True
            if digits >= _APPROXIMATION_DIGITS:
                return None
    return False


def _rounds_to(decimal: Fraction, digits: int, value: Any) -> bool:
    """Whether `value` has more digits than were written, and agrees to half a unit of the last one written."""
    unit = Fraction(10) ** -digits
    if isinstance(value, Fraction):
        return abs(value - decimal) <= unit / 2 and not _terminates(value)
    with mpmath.workdps(60):
        return bool(abs(value - mpmath.mpf(decimal.numerator) / decimal.denominator) <= mpmath.mpf(0.5) * float(unit))


def _terminates(value: Fraction) -> bool:
    rest = value.denominator
    for factor in (2, 5):
        while rest % factor == 0:
            rest //= factor
    return rest == 1


def _significant(decimal: Fraction, digits: int) -> int:
    scaled = abs(decimal) * Fraction(10) ** digits
    return len(str(int(scaled))) if scaled < 10**100 else 100


def _same_at_points(one: Node, other: Node, names: set[str]) -> bool | None:
    positive = [_same_at(one, other, names, f"positive-{draw}") for draw in range(2)]
    if all(positive):
        return True if _same_at_negative(one, other, names) else None
    whole = [_same_at(one, other, names, f"whole-{draw}") for draw in range(2)] if _for_whole(one, other) else [False]
    return None if all(whole) else False


def _same_at(one: Node, other: Node, names: set[str], kind: str) -> bool:
    at = points(names, kind)
    return same(evaluate(one, at), evaluate(other, at))


def _same_at_negative(one: Node, other: Node, names: set[str]) -> bool:
    """Where negative values are outside of the domain the positive ones decide."""
    if _for_whole(one, other) or any(isinstance(each, Apply) and each.name in ("sqrt", "root", "ln", "log")
                                     for each in (*walk(one), *walk(other))):  # fmt: skip
        return True
    try:
        return _same_at(one, other, names, "negative")
    except UnreadError:
        return True


def _for_whole(one: Node, other: Node) -> bool:
    """Whether letters may stand for whole numbers only."""
    return any(
        isinstance(each, Apply) and (each.name in _WHOLE_ONLY or (each.name == "^" and letters(each.arguments[1])))
        for each in (*walk(one), *walk(other))
    )
