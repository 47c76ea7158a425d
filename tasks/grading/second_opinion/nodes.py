"""The tree that the reader makes of an answer, and how it is printed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

MAX_SHOWN = 120


class UnreadError(ValueError):
    """The text leaves the grammar, or its value the bounds."""


@dataclass(frozen=True)
class Number:
    """A rational number; `digits` are the decimals written after the point, None where it is no decimal."""

    value: Fraction
    digits: int | None = None


@dataclass(frozen=True)
class Symbol:
    """A letter or name, with its index: `x`, `x_1`, `ABC`, `pi`."""

    name: str


@dataclass(frozen=True)
class Apply:
    """An operator or function: `+`, `*`, `/`, `^`, `neg`, `pm`, `sqrt`, `sin`, `log`, `deg`, `!`, `floor` and so on."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True)
class Items:
    """Several values: a bare `list`, a `set`, a `ratio`, a `matrix` of rows, or delimiters such as `()` and `[)`."""

    kind: str
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Interval:
    """The numbers between two ends; `name` is the variable where one was written."""

    low: Node
    high: Node
    low_closed: bool
    high_closed: bool
    name: str | None = None


@dataclass(frozen=True)
class Union:
    """Intervals joined by a union sign or "or"."""

    parts: tuple[Interval, ...]


@dataclass(frozen=True)
class Relation:
    """A chain `side sign side ...`; `modulus` is that of a congruence."""

    sides: tuple[Node, ...]
    signs: tuple[str, ...]
    modulus: Node | None = None


@dataclass(frozen=True)
class Quantity:
    """A value with the word written after it."""

    value: Node
    unit: str


@dataclass(frozen=True)
class Words:
    """Text that is no mathematics, in lower case with single spaces."""

    text: str


Node = Number | Symbol | Apply | Items | Interval | Union | Relation | Quantity | Words


def children(node: Node) -> tuple[Node, ...]:
    """Returns the nodes right below one."""
    match node:
        case Apply():
            return node.arguments
        case Items():
            return node.items
        case Interval():
            return node.low, node.high
        case Union():
            return node.parts
        case Relation():
            return node.sides if node.modulus is None else (*node.sides, node.modulus)
        case Quantity():
            return (node.value,)
        case _:
            return ()


def walk(node: Node) -> Iterator[Node]:
    """Yields a node and all below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def shown(node: Node) -> str:
    """Returns a reading in one short line."""
    text = _shown(node)
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def _shown(node: Node) -> str:
    parts = [_shown(child) for child in children(node)]
    match node:
        case Number():
            bits = node.value.numerator.bit_length() + node.value.denominator.bit_length()
            return str(node.value) if bits < 1_000 else f"a rational number of {bits} bits"
        case Symbol():
            return node.name
        case Apply(name=("+" | "*" | "/" | "^") as sign):
            return "(" + f" {sign} ".join(parts) + ")"
        case Apply():
            return f"{node.name}({', '.join(parts)})"
        case Items():
            return f"{node.kind} ({', '.join(parts)})"
        case Interval():
            ends = "[" if node.low_closed else "(", "]" if node.high_closed else ")"
            return f"interval {ends[0]}{parts[0]}, {parts[1]}{ends[1]}"
        case Union():
            return " or ".join(parts)
        case Relation():
            chain = parts[0] + "".join(f" {sign} {part}" for sign, part in zip(node.signs, parts[1:], strict=False))
            return chain if node.modulus is None else f"{chain} (mod {parts[-1]})"
        case Quantity():
            return f"{parts[0]} {node.unit!r}"
        case Words():
            return f"text {node.text!r}"
