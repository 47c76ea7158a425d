"""What the reader builds from the parts it has read: numbers, lists, intervals, quantities."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction

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
)

INFINITY = Symbol("infty")
MINUS_ONE = Number(Fraction(-1))
ALL_REALS = Interval(Apply("neg", (INFINITY,)), INFINITY, False, False)
CURRENCY = re.compile(r"(?:rs|usd|us|eur|gbp|inr)\.?", re.IGNORECASE)
MULTIPLIERS = {"hundred": 100, "thousand": 1_000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
NOT_UNITS = {"squared", "cubed", "factorial", "half", "dozen", "not", "or", "and", "is", "are", "odd", "even", "times"}
_MAX_DIGITS = 1_000
_MAX_EXPONENT = 2_000
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{?(\d+)\}?", re.ASCII)


def number(text: str) -> Number:
    """Returns the value of digits, a decimal, a repeating decimal or scientific notation.

    Raises:
        UnreadError: it is too long.
    """
    if len(text) > _MAX_DIGITS:
        raise UnreadError("a number too long")
    repeating = _REPEATING.fullmatch(text)
    if repeating is not None:
        whole, fixed, period = repeating.groups()
        head = Fraction(int((whole or "0") + fixed))
        return Number((head + Fraction(int(period), 10 ** len(period) - 1)) / 10 ** len(fixed))
    mantissa, _, exponent = text.lower().partition("e")
    if len(exponent) > 6 or abs(int(exponent or 0)) > _MAX_EXPONENT:
        raise UnreadError("an exponent too large")
    digits = len(mantissa.partition(".")[2]) - int(exponent or 0) if "." in mantissa else None
    return Number(Fraction(mantissa) * Fraction(10) ** int(exponent or 0), digits)


def in_base(digits: str, base: Number) -> Node:
    """Returns a whole number written in a base from 2 to 36."""
    if base.value.denominator != 1 or not 2 <= base.value <= 36 or not digits.isdecimal():
        raise UnreadError("not a number in a base")
    try:
        return Quantity(Number(Fraction(int(digits, int(base.value)))), f"base {base.value}")
    except ValueError:
        return Words(f"{digits} in base {base.value}")


def signed(sign: str, node: Node) -> Node:
    """Returns a term with its sign."""
    if sign != "-":
        return node
    if isinstance(node, Number):
        return Number(-node.value, node.digits)
    return Apply("neg", (node,))


def union(parts: Sequence[Node]) -> Union:
    """Returns intervals joined by a union sign.

    Raises:
        UnreadError: a part is no interval.
    """
    found: list[Interval] = []
    for part in parts:
        interval = as_interval(part)
        if interval is None:
            raise UnreadError("a union of what is no interval")
        found.append(interval)
    return Union(tuple(found))


def as_interval(node: Node) -> Interval | None:
    """Returns a pair in delimiters as the interval it may be."""
    if isinstance(node, Interval):
        return node
    if isinstance(node, Items) and len(node.items) == 2 and node.kind in ("()", "[]", "(]", "[)"):
        return Interval(node.items[0], node.items[1], node.kind[0] == "[", node.kind[1] == "]")
    return None


def delimited(opening: str, closing: str, inner: Node) -> Node:
    """Returns what delimiters make of their content: a group, a tuple or interval, a set."""
    several = isinstance(inner, Items) and inner.kind == "list"
    items = inner.items if isinstance(inner, Items) and several else (inner,)
    if opening == "\\{":
        return inner if isinstance(inner, Interval) else Items("set", items)
    if several:
        return Items("set" if opening == "{" else "()" if opening == "\\langle" else opening + closing, items)
    if opening + closing in ("()", "{}"):
        return inner
    if opening + closing == "[]":
        return inner
    raise UnreadError("delimiters that do not match around one value")


def joined(items: list[Node], separators: list[str]) -> Node:
    """Returns items as a list; inequalities joined by "or" as the union of their intervals."""
    if len(items) == 1:
        return items[0]
    if all(isinstance(item, Interval) for item in items) and set(separators) == {"or"}:
        return union(items)
    return Items("list", tuple(items))


def related(sides: list[Node], signs: list[str], modulus: Node | None) -> Node:
    """Returns sides joined by relations: an interval where they bound one letter, else the chain."""
    if not signs:
        if modulus is not None:
            raise UnreadError("a modulus without a congruence")
        return sides[0]
    if len(sides) == len(signs):  # a leading sign, as in "> 5"
        sides = [Symbol("?"), *sides]
    if modulus is None and all(sign in _MIRRORED for sign in signs):
        interval = _bounded(sides, signs)
        if interval is not None:
            return interval
    if signs == ["in"] and modulus is None and isinstance(sides[0], Symbol):
        return sides[1]
    return Relation(tuple(sides), tuple(signs), modulus)


def _bounded(sides: list[Node], signs: list[str]) -> Interval | None:
    if all(sign.startswith(">") for sign in signs):
        sides, signs = sides[::-1], [_MIRRORED[sign] for sign in signs[::-1]]
    if not all(sign.startswith("<") for sign in signs):
        return None
    closed = [sign == "<=" for sign in signs]
    if len(sides) == 3 and isinstance(sides[1], Symbol):
        return Interval(sides[0], sides[2], closed[0], closed[1], sides[1].name)
    if len(sides) == 2 and isinstance(sides[0], Symbol):
        return Interval(ALL_REALS.low, sides[1], False, closed[0], sides[0].name)
    if len(sides) == 2 and isinstance(sides[1], Symbol):
        return Interval(sides[0], INFINITY, closed[0], False, sides[1].name)
    return None


def set_builder(variable: Node, condition: Node) -> Node:
    """Returns the set of a variable and its condition, where the condition is an interval."""
    if isinstance(variable, Symbol) and isinstance(condition, (Interval, Union)):
        return condition
    raise UnreadError("a set builder that is no interval")


def quantity(node: Node, unit: str) -> Node:
    """Returns a value with its unit; "thousand" and the like multiply.

    Raises:
        UnreadError: the words are no unit.
    """
    first, _, rest = unit.partition(" ")
    if first in MULTIPLIERS:
        scaled = Apply("*", (node, Number(Fraction(MULTIPLIERS[first]))))
        return quantity(scaled, rest) if rest else scaled
    words = re.findall(r"[^\W\d_]+", unit.casefold())
    if unit.casefold() in ("percent", "per cent"):
        return Quantity(Apply("/", (node, Number(Fraction(100)))), "%")
    if not words or len(words) > 3 or NOT_UNITS & set(words):
        raise UnreadError(f"{unit!r} is no unit")
    return Quantity(node, unit.casefold().strip())
