"""Compares relations: congruences, and equations at points that solve one of them."""

from __future__ import annotations

from fractions import Fraction

from tasks.grading.second_opinion.nodes import Apply, Node, Relation, Symbol, UnreadError
from tasks.grading.second_opinion.numbers import same_expression
from tasks.grading.second_opinion.values import Value, evaluate, letters, points, same

_ZERO = Fraction(0)
_MIRRORED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<=", "!=": "!="}


def solved_value(relation: Relation) -> Node | None:
    """Returns what a chain of equations gives its first side, if that is a name or f(x), or the common value of all."""
    if set(relation.signs) != {"="} or relation.modulus is not None:
        return None
    first, *others = relation.sides
    sides = others if _is_name(first, others) else list(relation.sides)
    if any(same_expression(sides[0], side) is not True for side in sides[1:]):
        return None
    return sides[-1]


def _is_name(side: Node, others: list[Node]) -> bool:
    if isinstance(side, Symbol):
        return all(side.name not in letters(other) for other in others)
    return isinstance(side, Apply) and side.name == "*" and all(isinstance(each, Symbol) for each in side.arguments)


def same_relation(one: Relation, other: Relation) -> bool | None:
    """Tells whether two relations hold at the same points; None where that cannot be told."""
    if one.modulus is not None and other.modulus is not None:
        return _same_congruence(one, other)
    if len(one.sides) != 2 or len(other.sides) != 2:
        return True if one == other else None
    if one.signs == other.signs == ("=",):
        return _same_equation(one, other)
    if one.signs == other.signs or _MIRRORED.get(one.signs[0]) == other.signs[0]:
        sides = other.sides if one.signs == other.signs else other.sides[::-1]
        pairs = [same_expression(*pair) for pair in zip(one.sides, sides, strict=True)]
        return True if all(pairs) else None
    return None


def _same_congruence(one: Relation, other: Relation) -> bool | None:
    assert one.modulus is not None
    assert other.modulus is not None
    moduli = evaluate(one.modulus, {}), evaluate(other.modulus, {})
    if one.sides[0] != other.sides[0] or len(one.sides) != 2 or len(other.sides) != 2:
        return None
    if moduli[0] != moduli[1]:
        return False
    difference = evaluate(one.sides[1], {}) - evaluate(other.sides[1], {})
    return bool((difference / moduli[0]).denominator == 1)


def _same_equation(one: Relation, other: Relation) -> bool | None:
    if one.sides[0] == other.sides[0] and isinstance(one.sides[0], Symbol):
        result = same_expression(one.sides[1], other.sides[1])
        if result is not None:
            return result
    first, second = _difference(one), _difference(other)
    names = letters(first) | letters(second)
    if not names:
        sides = [same_expression(*pair) for pair in zip(one.sides, other.sides, strict=True)]
        if all(sides) or one.sides == other.sides[::-1]:
            return True
        holds = {same_expression(*relation.sides) for relation in (one, other)}
        return False if holds == {True, False} else None
    forward, backward = _solves(first, second, names), _solves(second, first, names)
    if False in (forward, backward):
        return False
    if forward and backward:
        return True
    return True if _proportional(first, second, names) else None


def _difference(relation: Relation) -> Node:
    return Apply("+", (relation.sides[0], Apply("neg", (relation.sides[1],))))


def _solves(first: Node, second: Node, names: set[str]) -> bool | None:
    """Whether points on which `first` is zero make `second` zero, where a letter occurs linearly in `first`."""
    results = [_solves_at(first, second, names, f"positive-{draw}") for draw in range(3)]
    return None if None in results else all(results)


def _solves_at(first: Node, second: Node, names: set[str], kind: str) -> bool | None:
    for name in sorted(letters(first)):
        at = points(names, kind)
        try:
            line = [evaluate(first, at | {name: Fraction(place)}) for place in (0, 1, 2)]
            if not all(isinstance(value, Fraction) for value in line) or line[1] == line[0]:
                continue
            if line[2] - line[1] != line[1] - line[0]:
                continue
            solution = at | {name: line[0] / (line[0] - line[1])}
            if evaluate(first, solution) == 0:
                return same(evaluate(second, solution), _ZERO)
        except UnreadError:
            continue
    return None


def _proportional(first: Node, second: Node, names: set[str]) -> bool:
    ratios: list[Value] = []
    for draw in range(3):
        at = points(names, f"positive-{draw}")
        top, bottom = evaluate(first, at), evaluate(second, at)
        if same(bottom, _ZERO):
            return False
        ratios.append(evaluate(first, at) / evaluate(second, at) if type(top) is type(bottom) else None)
    if None in ratios:
        return False
    return all(same(ratio, ratios[0]) for ratio in ratios[1:])
