"""Decides whether two readings say the same: True, False, or None where it cannot tell."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import TypeVar

from tasks.grading.second_opinion.equations import same_relation, solved_value
from tasks.grading.second_opinion.nodes import (
    Apply,
    Interval,
    Items,
    Node,
    Number,
    Quantity,
    Relation,
    Symbol,
    Union,
    UnreadError,
    Words,
    walk,
)
from tasks.grading.second_opinion.numbers import same_expression
from tasks.grading.second_opinion.shapes import as_interval

Item = TypeVar("Item")
MAX_ITEMS = 100
_NUMBER_WORDS = {
    "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9,
    "ten": 10, "eleven": 11, "twelve": 12,
}  # fmt: skip
_NAMES_MAY_BE_UNITS = set("mgshlLNJWVKCA")
_FILLER = {"the", "a", "an", "of", "is"}
_TUPLES = ("()", "[]", "(]", "[)")


def compare(gold: Node, answer: Node) -> bool | None:
    """Tells whether two readings say the same; None where that cannot be told."""
    try:
        return _compare(_expanded(gold), _expanded(answer))
    except (UnreadError, RecursionError):
        return None


def _expanded(node: Node) -> Node:
    """Writes out a plus-minus sign as the list of both values, number words as numbers, one letter as a symbol."""
    if isinstance(node, Words) and node.text in _NUMBER_WORDS:
        return Number(Fraction(_NUMBER_WORDS[node.text]))
    if isinstance(node, Items) and node.kind in ("list", "set"):
        flat: list[Node] = []
        for item in map(_expanded, node.items):
            flat += item.items if isinstance(item, Items) and item.kind == "list" else [item]
        return Items(node.kind, tuple(flat))
    if isinstance(node, Relation) and node.signs == ("=",) and _has_pm(node.sides[1]):
        both = [Relation((node.sides[0], _chosen(node.sides[1], plus)), ("=",)) for plus in (True, False)]
        return Items("list", tuple(both))
    if isinstance(node, Apply) and _has_pm(node):
        return Items("list", (_chosen(node, True), _chosen(node, False)))
    return node


def _has_pm(node: Node) -> bool:
    return any(isinstance(each, Apply) and each.name == "pm" for each in walk(node))


def _chosen(node: Node, plus: bool) -> Node:
    if not isinstance(node, Apply):
        return node
    arguments = tuple(_chosen(each, plus) for each in node.arguments)
    if node.name == "pm":
        return Apply("+", (arguments[0], arguments[1] if plus else Apply("neg", (arguments[1],))))
    return Apply(node.name, arguments)


def _compare(gold: Node, answer: Node) -> bool | None:
    if isinstance(gold, Words) or isinstance(answer, Words):
        return _same_words(gold, answer)
    if isinstance(gold, Relation) and isinstance(answer, Relation):
        return same_relation(gold, answer)
    for one, other, swapped in ((gold, answer, False), (answer, gold, True)):
        if isinstance(one, Relation):
            return _relation_against(one, other, swapped)
    if isinstance(gold, Quantity) or isinstance(answer, Quantity):
        return _same_quantity(gold, answer)
    if isinstance(gold, (Interval, Union)) or isinstance(answer, (Interval, Union)):
        return _same_intervals(gold, answer)
    if isinstance(gold, Items) or isinstance(answer, Items):
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
    if not isinstance(node, Apply) or node.name not in ("deg", "neg", "+", "*", "/"):
        return node
    arguments = tuple(_without_degrees(each) for each in node.arguments)
    return arguments[0] if node.name == "deg" else Apply(node.name, arguments)


def _name_as_unit(one: Node, other: Node) -> bool:
    match one:
        case Apply(name="*", arguments=(Number() as number, Symbol(name=name))) if name in _NAMES_MAY_BE_UNITS:
            return same_expression(number, other) is True
        case _:
            return False


def _relation_against(relation: Relation, other: Node, swapped: bool) -> bool | None:
    """Compares a relation with what is none: `x = 5` with 5, `x = 44, x = 46` is a list and not here."""
    if any(sign in ("!=", "mid") for sign in relation.signs):
        return False
    value = solved_value(relation)
    if value is None:
        return None
    return compare(other, value) if swapped else compare(value, other)


def _same_quantity(gold: Node, answer: Node) -> bool | None:
    one, unit = (gold.value, gold.unit) if isinstance(gold, Quantity) else (gold, "")
    other, second = (answer.value, answer.unit) if isinstance(answer, Quantity) else (answer, "")
    same = _compare(one, other)
    halves = [re.sub(r"[^a-z]", "", each.casefold()) for each in (unit, second)]
    if set(halves) == {"am", "pm"}:
        return False
    if "%" in (unit, second) and unit != second:
        return True if same else None
    if "am" in halves or "pm" in halves or unit.startswith("base ") or second.startswith("base "):
        return same if unit == second else (False if unit and second and same is False else None)
    if same is not True or not unit or not second:
        return same if unit == second or not unit or not second else None
    return True if unit.rstrip("s") == second.rstrip("s") else None


def _same_words(gold: Node, answer: Node) -> bool | None:
    if not (isinstance(gold, Words) and isinstance(answer, Words)):
        words, other = (gold, answer) if isinstance(gold, Words) else (answer, gold)
        assert isinstance(words, Words)
        return False if isinstance(other, Symbol) and words is gold and len(words.text.split()) > 2 else None
    one, other_words = (
        [word for word in re.findall(r"\w+|[^\w\s]", each.text) if word not in _FILLER] for each in (gold, answer)
    )
    if one == other_words:
        return True
    first, second = set(one), set(other_words)
    return None if first <= second or second <= first else False


def _same_intervals(gold: Node, answer: Node) -> bool | None:
    one, other = _parts(gold), _parts(answer)
    if one is None or other is None:
        simple = answer if one is not None else gold
        return False if isinstance(simple, (Number, Apply, Symbol)) and simple != Symbol("...") else None
    names = {part.name for part in one + other if part.name is not None and part.name != "?"}
    result = _matched(one, other, _same_interval) if len(one) == len(other) else False
    return None if result is not False and len(names) > 1 else result


def _parts(node: Node) -> tuple[Interval, ...] | None:
    if isinstance(node, Union):
        return node.parts
    interval = as_interval(node)
    return None if interval is None else (interval,)


def _same_interval(one: Interval, other: Interval) -> bool | None:
    ends = _all([_same_end(one.low, other.low), _same_end(one.high, other.high)])
    if (one.low_closed, one.high_closed) != (other.low_closed, other.high_closed):
        return False
    return ends


def _same_end(one: Node, other: Node) -> bool | None:
    infinite = [any(each == Symbol("infty") for each in walk(node)) for node in (one, other)]
    return one == other if any(infinite) else same_expression(one, other)


def _same_items(gold: Node, answer: Node) -> bool | None:
    if not (isinstance(gold, Items) and isinstance(answer, Items)):
        items = gold if isinstance(gold, Items) else answer
        assert isinstance(items, Items)
        if items.kind in ("matrix", "ratio"):
            return None
        if items.kind == "measures":
            return False
        return False if len(items.items) != 1 and not _repeats(items.items) else None
    named = [_named_values(each) for each in (gold, answer)]
    if named[0] is not None and named[1] is not None and named[0].keys() == named[1].keys():
        return _all([_compare(named[0][name], named[1][name]) for name in named[0]])
    kinds = {gold.kind, answer.kind}
    one, other = _values(gold), _values(answer)
    if kinds == {"ratio"}:
        return _same_ratio(one, other)
    if kinds == {"list"} or kinds == {"set"} or kinds == {"list", "set"}:
        return _same_collection(one, other, "set" in kinds)
    if len(kinds) == 1:
        return _all([_compare(*pair) for pair in zip(one, other, strict=True)]) if len(one) == len(other) else False
    if kinds <= set(_TUPLES):
        return False
    if kinds & set(_TUPLES) and "list" in kinds and len(one) == len(other):
        ordered = _all([_compare(*pair) for pair in zip(one, other, strict=True)])
        return True if ordered and (named[0] is not None or named[1] is not None) else None
    return None


def _values(items: Items) -> tuple[Node, ...]:
    return tuple(
        (solved_value(item) or item) if isinstance(item, Relation) and items.kind == "list" else item
        for item in items.items
    )


def _named_values(items: Items) -> dict[str, Node] | None:
    """Returns the values of `x = 5, y = 6` by name; None where a name is missing or comes twice."""
    found: dict[str, Node] = {}
    for item in items.items:
        if not (isinstance(item, Relation) and item.signs == ("=",) and isinstance(item.sides[0], Symbol)):
            return None
        found[item.sides[0].name] = item.sides[1]
    return found if len(found) == len(items.items) else None


def _same_collection(one: Sequence[Node], other: Sequence[Node], sets: bool) -> bool | None:
    if len(one) > MAX_ITEMS or len(other) > MAX_ITEMS:
        return None
    if sets:
        one, other = _distinct(one), _distinct(other)
    if len(one) != len(other):
        return None if _repeats(one) or _repeats(other) else False
    return _matched(one, other, _compare)


def _distinct(items: Sequence[Node]) -> list[Node]:
    kept: list[Node] = []
    for item in items:
        if not any(_compare(item, each) for each in kept):
            kept.append(item)
    return kept


def _repeats(items: Sequence[Node]) -> bool:
    return len(_distinct(items)) < len(items)


def _matched(one: Sequence[Item], other: Sequence[Item], same: Callable[[Item, Item], bool | None]) -> bool | None:
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


def _same_ratio(one: Sequence[Node], other: Sequence[Node]) -> bool | None:
    if len(one) != len(other):
        return False
    direct = _all([_compare(*pair) for pair in zip(one, other, strict=True)])
    if direct or any(isinstance(each, Number) and each.value == 0 for each in (*one, *other)):
        return direct
    return _all(
        [
            same_expression(Apply("*", (first, other[0])), Apply("*", (second, one[0])))
            for first, second in zip(one[1:], other[1:], strict=True)
        ]
    )


def _all(results: Sequence[bool | None]) -> bool | None:
    """False if one is False, else None if one is None, else True."""
    return False if False in results else None if None in results else True
