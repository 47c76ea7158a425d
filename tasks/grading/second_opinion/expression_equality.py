"""Tells whether expressions have one value, and equations the same solutions: exactly, or at fixed random points."""

from __future__ import annotations

from fractions import Fraction

from tasks.grading.second_opinion.nodes import Node, UnreadError, negative, symbol, walk
from tasks.grading.second_opinion.values import Value, evaluate, letters, points, same

_APPROXIMATION_DIGITS, _TRUSTED_DIGITS = 4, 6
_WHOLE_ONLY = {"!", "binom", "sin", "cos", "tan"}
_POSITIVE_ONLY = {"sqrt", "ln", "log"}
_ZERO = Fraction(0)


def same_expression(one: Node, other: Node) -> bool | None:
    """Tells whether two expressions have one value; None where that cannot be told.

    A decimal that agrees with a value which has no such decimal, to all of its digits, is the same from six
    significant digits on if the value is irrational; otherwise, from four on, this cannot be told.
    """
    if one == other:
        return True
    parts = [*walk(one), *walk(other)]
    if symbol("...") in parts:
        return False if one.kind == other.kind == "symbol" else None
    try:
        names = letters(one, other)
        result = _same_at_points(one, other, names) if names else _same_numbers(one, other)
    except UnreadError:
        return None
    # log alone may be to any base
    return None if result is False and any(part.kind == "log" and len(part.args) == 1 for part in parts) else result


def _same_numbers(one: Node, other: Node) -> bool | None:
    first, second = evaluate(one, {}), evaluate(other, {})
    if same(first, second):
        return True
    for node, value in ((one, second), (other, first)):
        if node.digits is not None and _rounds_to(node, value):
            digits = len(str(int(abs(node.value) * Fraction(10) ** node.digits)))
            if digits >= _TRUSTED_DIGITS and not isinstance(value, Fraction):
                return True
            if digits >= _APPROXIMATION_DIGITS:
                return None
    return False


def _rounds_to(decimal: Node, value: Value) -> bool:
    """Whether `value` has more digits than were written, and agrees to half a unit of the last one written."""
    if isinstance(value, Fraction) and 10**100 % value.denominator == 0:
        return False
    half = Node("number", value=Fraction(10) ** -(decimal.digits or 0) / 2)
    distance = Node("abs", (Node("+", (decimal, symbol("value"))),))
    return bool(evaluate(Node("+", (distance, negative(half))), {"value": -value}) <= 0)


def _same_at_points(one: Node, other: Node, names: set[str]) -> bool | None:
    parts = {part.kind for part in (*walk(one), *walk(other))}
    whole = bool(parts & _WHOLE_ONLY) or any(
        part.kind == "^" and letters(part.args[1]) for part in (*walk(one), *walk(other))
    )
    if all(_same_at(one, other, names, f"positive-{draw}") for draw in range(2)):
        # Where negative values are outside of the domain the positive ones decide.
        if whole or parts & _POSITIVE_ONLY:
            return True
        try:
            return True if _same_at(one, other, names, "negative") else None
        except UnreadError:
            return True
    return None if whole and all(_same_at(one, other, names, f"whole-{draw}") for draw in range(2)) else False


def _same_at(one: Node, other: Node, names: set[str], kind: str) -> bool:
    at = points(names, kind)
    return same(evaluate(one, at), evaluate(other, at))


def solved_value(relation: Node) -> Node | None:
    """Returns what a chain of equations gives its first side, if that is a name or f(x), or the common value of all."""
    if set(relation.name.split()) != {"="}:
        return None
    first, *others = relation.args
    product = first.kind == "*" and all(each.kind == "symbol" for each in first.args)
    named = product or (first.kind == "symbol" and first.name not in letters(*others))
    sides = others if named else list(relation.args)
    return None if any(same_expression(sides[0], side) is not True for side in sides[1:]) else sides[-1]


def same_equation(one: Node, other: Node) -> bool | None:
    """Tells whether two equations hold at the same points; None where that cannot be told."""
    if one.args[0] == other.args[0] and one.args[0].kind == "symbol":
        result = same_expression(one.args[1], other.args[1])
        if result is not None:
            return result
    first, second = (Node("+", (each.args[0], negative(each.args[1]))) for each in (one, other))
    if not letters(first, second):
        sides = [same_expression(*pair) for pair in zip(one.args, other.args, strict=True)]
        if all(sides) or one.args == other.args[::-1]:
            return True
        return False if {same_expression(*each.args) for each in (one, other)} == {True, False} else None
    if _fails_on_the_other(one, second) or _fails_on_the_other(other, first):
        return False
    ratios = [_ratio_at(first, second, f"positive-{draw}") for draw in range(3)]
    return True if all(same(ratio, ratios[0]) for ratio in ratios[1:]) else None


def _fails_on_the_other(one: Node, difference: Node) -> bool:
    """Whether a solution of `y = f(x)` does not make the other equation's difference zero."""
    (left, right), names = one.args, letters(one, difference)
    if left.kind != "symbol" or left.name in letters(right):
        return False
    at = points(names, "positive")
    return not same(evaluate(difference, at | {left.name: evaluate(right, at)}), _ZERO)


def _ratio_at(first: Node, second: Node, kind: str) -> Value:
    return evaluate(Node("/", (first, second)), points(letters(first, second), kind))
