"""Decides whether two readings say the same: True, False, or None where it cannot tell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from tasks.grading.second_opinion.expression_equality import same_equation, same_expression, solved_value
from tasks.grading.second_opinion.nodes import INFINITY, TUPLES, Node, UnreadError, negative, number, walk
from tasks.grading.second_opinion.values import evaluate

MAX_ITEMS = 100
_NUMBER_WORDS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
]  # fmt: skip
_NAMES_MAY_BE_UNITS = set("mgshlLNJWVKCA")
_FILLER = {"the", "a", "an", "of", "is"}
_COLLECTIONS = {*TUPLES, "list", "set", "ratio", "measures"}
_MIRRORED = {"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<=", "!=": "!="}


def compare(gold: Node, answer: Node) -> bool | None:
    """Tells whether two readings say the same; None where that cannot be told."""
    try:
        return _compare(_in_digits(gold), _in_digits(answer))
    except (UnreadError, RecursionError):
        return None


def _in_digits(node: Node) -> Node:
    is_number = node.kind == "words" and node.name in _NUMBER_WORDS
    return number(_NUMBER_WORDS.index(node.name)) if is_number else node


def _compare(gold: Node, answer: Node) -> bool | None:
    kinds = {gold.kind, answer.kind}
    if "words" in kinds:
        return _same_words(gold, answer)
    if "congruence" in kinds:
        return _same_congruence(gold, answer) if len(kinds) == 1 else None
    if kinds == {"relation"}:
        return _same_relation(gold, answer)
    if "relation" in kinds:
        relation, other = (gold, answer) if gold.kind == "relation" else (answer, gold)
        if {"!=", "mid"} & set(relation.name.split()):
            return False
        value = solved_value(relation)
        return None if value is None else compare(value, other)
    if "quantity" in kinds:
        return _same_quantity(gold, answer)
    if "union" in kinds or any(node.kind in TUPLES and node.name for node in (gold, answer)):
        return _same_intervals(gold, answer)
    if kinds & _COLLECTIONS:
        return _same_items(gold, answer)
    return _same_values(gold, answer)


def _same_values(gold: Node, answer: Node) -> bool | None:
    one, other = _without_degrees(gold), _without_degrees(answer)
    result = same_expression(one, other)
    if result is not False:
        return result
    if (one, other) != (gold, answer) and same_expression(gold, answer) is not False:  # degrees against radians
        return None
    return None if _name_as_unit(gold, answer) or _name_as_unit(answer, gold) else False


def _without_degrees(node: Node) -> Node:
    """A degree sign is a unit outside of functions; within them it is a factor."""
    if node.kind not in ("deg", "neg", "+", "*", "/"):
        return node
    args = tuple(map(_without_degrees, node.args))
    return args[0] if node.kind == "deg" else Node(node.kind, args)


def _name_as_unit(one: Node, other: Node) -> bool:
    if one.kind != "*" or one.args[0].kind != "number" or one.args[1].name not in _NAMES_MAY_BE_UNITS:
        return False
    return same_expression(one.args[0], other) is True


def _same_relation(one: Node, other: Node) -> bool | None:
    if len(one.args) != 2 or len(other.args) != 2:
        return True if one == other else None
    if one.name == other.name == "=":
        return same_equation(one, other)
    if one.name != other.name and _MIRRORED.get(one.name) != other.name:
        return None
    sides = other.args if one.name == other.name else other.args[::-1]
    return True if all(same_expression(*pair) for pair in zip(one.args, sides, strict=True)) else None


def _same_congruence(one: Node, other: Node) -> bool | None:
    if one.args[0] != other.args[0]:
        return None
    (_, first, modulus), (_, second, other_modulus) = (each.args for each in (one, other))
    if evaluate(modulus, {}) != evaluate(other_modulus, {}):
        return False
    ratio = evaluate(Node("/", (Node("+", (first, negative(second))), modulus)), {})
    return bool(ratio.denominator == 1)


def _same_quantity(gold: Node, answer: Node) -> bool | None:
    (one, unit), (other, second) = ((each.args[0], each.name) if each.kind == "quantity" else (each, "")
                                    for each in (gold, answer))  # fmt: skip
    same = _compare(one, other)
    halves = [re.sub(r"[^a-z]", "", each) for each in (unit, second)]
    if set(halves) == {"am", "pm"}:
        return False
    if unit == second:
        return same
    if "%" in (unit, second):
        return True if same else None
    if "am" in halves or "pm" in halves or unit.startswith("base") or second.startswith("base"):
        return False if unit and second and same is False else None
    if not unit or not second:
        return same
    return True if same and unit.rstrip("s") == second.rstrip("s") else None


def _same_words(gold: Node, answer: Node) -> bool | None:
    if gold.kind != answer.kind:
        words, other = (gold, answer) if gold.kind == "words" else (answer, gold)
        return False if other.kind == "symbol" and words is gold and len(words.name.split()) > 2 else None
    one, other_words = (
        [word for word in re.findall(r"\w+|[^\w\s]", each.name) if word not in _FILLER] for each in (gold, answer)
    )
    first, second = set(one), set(other_words)
    return True if one == other_words else None if first <= second or second <= first else False


def _same_intervals(gold: Node, answer: Node) -> bool | None:
    parts = [each.args if each.kind == "union" else (each,) for each in (gold, answer)]
    for part in parts:
        if any(each.kind not in TUPLES or len(each.args) != 2 for each in part):
            return None if part[0].kind in ("list", "set", *TUPLES) or part[0].name == "..." else False
    result = _matched(parts[0], parts[1], _same_interval) if len(parts[0]) == len(parts[1]) else False
    letters = {each.name for part in parts for each in part} - {"", "?"}
    return None if result is not False and len(letters) > 1 else result


def _same_interval(one: Node, other: Node) -> bool | None:
    return False if one.kind != other.kind else _all(map(_same_end, one.args, other.args))


def _same_end(one: Node, other: Node) -> bool | None:
    infinite = any(each == INFINITY for node in (one, other) for each in walk(node))
    return one == other if infinite else same_expression(one, other)


def _same_items(gold: Node, answer: Node) -> bool | None:
    kinds = {gold.kind, answer.kind}
    if not kinds <= _COLLECTIONS:
        items = gold if gold.kind in _COLLECTIONS else answer
        if items.kind == "ratio":
            return None
        return False if items.kind == "measures" or (len(items.args) != 1 and not _repeats(items.args)) else None
    named = [_named_values(each) for each in (gold, answer)]
    if named[0] and named[1] and named[0].keys() == named[1].keys():
        return _all(_compare(named[0][name], named[1][name]) for name in named[0])
    one, other = _values(gold), _values(answer)
    if kinds <= {"list", "set"}:
        return _same_collection(one, other)
    ordered = _all(map(_compare, one, other)) if len(one) == len(other) else False
    if kinds == {"ratio"}:  # 6:9 is 2:3, but 10:30 p.m. is not 10:30 a.m.
        return ordered if ordered or one[-1].kind == "quantity" else None
    if len(kinds) == 1:
        return ordered
    if kinds <= set(TUPLES):
        return False
    # A tuple against a list: in order where names give the order.
    return True if ordered and "list" in kinds and kinds & set(TUPLES) and any(named) else None


def _values(items: Node) -> list[Node]:
    """The elements, of a list those that equations name."""
    named = [solved_value(each) if each.kind == "relation" and items.kind == "list" else None for each in items.args]
    return [value or each for value, each in zip(named, items.args, strict=True)]


def _named_values(items: Node) -> dict[str, Node]:
    """Returns the values of `x = 5, y = 6` by name; empty where a name is missing or comes twice."""
    found = {each.args[0].name: each.args[1] for each in items.args
             if each.kind == "relation" and each.name == "=" and each.args[0].kind == "symbol"}  # fmt: skip
    return found if len(found) == len(items.args) else {}


def _same_collection(one: Sequence[Node], other: Sequence[Node]) -> bool | None:
    if max(len(one), len(other)) > MAX_ITEMS:
        return None
    if len(one) != len(other):
        return None if _repeats(one) or _repeats(other) else False
    return _matched(one, other, _compare)


def _repeats(items: Sequence[Node]) -> bool:
    return any(_compare(item, each) is not False for place, item in enumerate(items) for each in items[:place])


def _matched(one: Sequence[Node], other: Sequence[Node], same: Callable[[Node, Node], bool | None]) -> bool | None:
    """Pairs items in any order."""
    left, unsure = list(other), False
    for item in one:
        results = [same(item, each) for each in left]
        if True in results:
            del left[results.index(True)]
        elif None in results:
            unsure = True
        else:
            return False
    return None if unsure else True


def _all(results: Iterable[bool | None]) -> bool | None:
    """False if one is False, else None if one is None, else True."""
    found = list(results)
    return False if False in found else None if None in found else True
