"""What the parser makes of parts it has read: numbers, intervals, chains of relations."""

from __future__ import annotations

import re
from fractions import Fraction

from tasks.grading.second_opinion.nodes import INFINITY, TUPLES, Node, UnreadError, negative, number

_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_REPEATING = re.compile(r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{?(\d+)\}?", re.ASCII)


def is_bounded(node: Node) -> bool:
    """Tells whether a pair came from inequalities that bound a letter."""
    return node.kind in TUPLES and bool(node.name)


def union(parts: list[Node]) -> Node:
    """Returns intervals joined by a union sign, or by "or" between inequalities."""
    if any(part.kind not in TUPLES or len(part.args) != 2 for part in parts):
        raise UnreadError("a union of what is no interval")
    return Node("union", tuple(parts))


def related(sides: list[Node], signs: list[str]) -> Node:
    """Returns sides joined by relations: an interval where they bound one letter, else the chain."""
    if signs == ["in"] and sides[0].kind == "symbol":
        return sides[1]
    chain = Node("relation", tuple(sides), " ".join(signs))
    if all(sign.startswith(">") for sign in signs):
        sides, signs = sides[::-1], [_MIRRORED[sign] for sign in signs[::-1]]
    letter = next((place for place, side in enumerate(sides) if side.kind == "symbol" and side != INFINITY), None)
    if letter is None or letter == len(signs) == 2 or len(signs) > 2 or not all(sign.startswith("<") for sign in signs):
        return chain
    if len(signs) == 2 and letter != 1:
        return chain
    low, high = (sides[0] if letter else None), (sides[-1] if letter < len(signs) else None)
    left = "[" if low is not None and signs[0] == "<=" else "("
    right = "]" if high is not None and signs[-1] == "<=" else ")"
    return Node(left + right, (low or negative(INFINITY), high or INFINITY), sides[letter].name)


def written_number(text: str) -> Node:
    """Returns the value of digits, a decimal, a repeating decimal or scientific notation."""
    repeating = _REPEATING.fullmatch(text)
    if repeating is not None:
        whole, fixed, period = repeating.groups()
        head = Fraction(int((whole or "0") + fixed))
        return number((head + Fraction(int(period), 10 ** len(period) - 1)) / 10 ** len(fixed))
    mantissa, _, power = text.lower().partition("e")
    if len(text) > 1_000 or len(power) > 5 or abs(int(power or 0)) > 2_000:
        raise UnreadError("a number too long")
    digits = len(mantissa.partition(".")[2]) - int(power or 0) if "." in mantissa else None
    return Node("number", value=Fraction(mantissa) * Fraction(10) ** int(power or 0), digits=digits)
