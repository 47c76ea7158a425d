"""The tree of an answer that was read: one kind of node, and how it is shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

MAX_SHOWN = 200
TUPLES = ("()", "[]", "(]", "[)")


class UnreadError(Exception):
    """The text leaves the grammar, or has no value."""


@dataclass(frozen=True)
class Node:
    """A part of an answer.

    Attributes:
        kind: number, symbol, words; an operator or a function (`+`, `sqrt`, `sin`); list, set, matrix, row, ratio,
            measures or the delimiters of a tuple or an interval; union; relation; quantity.
        args: the parts; of a relation its sides, of an interval its ends.
        name: of a symbol or of the letter that an interval bounds; of a quantity its unit; of words their text; of a
            relation its signs, separated by blanks.
        value: of a number.
        digits: decimals that a number was written with; None where it is exact.
    """

    kind: str
    args: tuple[Node, ...] = ()
    name: str = ""
    value: Fraction = Fraction(0)
    digits: int | None = None


def number(value: Fraction | int) -> Node:
    """Returns an exact number."""
    return Node("number", value=Fraction(value))


def symbol(name: str) -> Node:
    """Returns a letter or a constant."""
    return Node("symbol", name=name)


def negative(node: Node) -> Node:
    """Returns a term with the other sign."""
    return Node("number", value=-node.value, digits=node.digits) if node.kind == "number" else Node("neg", (node,))


INFINITY = symbol("infty")
ALL_REALS = Node("()", (negative(INFINITY), INFINITY), "?")


def walk(node: Node) -> Iterator[Node]:
    """Yields a node and all below it."""
    yield node
    for child in node.args:
        yield from walk(child)


def shown(node: Node) -> str:
    """Returns a reading in one short line."""
    text = _shown(node)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def _shown(node: Node) -> str:
    parts = [_shown(child) for child in node.args]
    if node.kind == "number":
        bits = node.value.numerator.bit_length() + node.value.denominator.bit_length()
        return str(node.value) if bits < 1_000 else f"a rational number of {bits} bits"
    if node.kind in ("+", "*", "/", "^"):
        return f"({f' {node.kind} '.join(parts)})"
    if node.kind == "symbol":
        return node.name
    return f"{node.kind}{repr(node.name) if node.name else ''}({', '.join(parts)})"
