"""Values that cross between a program and its tests: built-in types by content, as JSON.

`encode` turns a value into what JSON can carry, `decode` makes it anew from built-in types alone. Whatever a program
returns, its tests get numbers, texts and containers that compare as built-ins do: an object of a class of its own
arrives as `Opaque`, an instance of a subclass of a built-in (a Counter, a named tuple) as the built-in. Stand-alone
(standard library only): both sandboxed interpreters import it.

Not covered: changes a program makes to its arguments stay with it; a lazy sequence crosses as its first 100,000 items.
"""

from __future__ import annotations

import itertools
import sys
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

OPAQUE = "opaque"
_EXACT_IN_JSON = 1 << 53
_MAX_LAZY_ITEMS = 100_000
_SEQUENCES: dict[str, type] = {
    kind.__name__: kind for kind in (list, tuple, set, frozenset, deque, bytes, bytearray, range)
}


class Opaque:
    """Stands for a result that has no plain form; equal to nothing but itself."""


def encode(value: Any) -> Any:
    """Returns a value as None, bool, int, float, str, [type name, contents], or {"opaque": type name}."""
    if value is None or value is True or value is False or type(value) in (str, float):
        return value
    if isinstance(value, int):
        number = int(value)
        return number if abs(number) < _EXACT_IN_JSON else ["int", hex(number)]
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, complex):
        return ["complex", [value.real, value.imag]]
    if isinstance(value, dict):
        return ["dict", [[encode(key), encode(item)] for key, item in value.items()]]
    return _encode_other(value)


def _encode_other(value: Any) -> Any:
    for name, kind in _SEQUENCES.items():
        if isinstance(value, kind):
            items: Any = (value.start, value.stop, value.step) if isinstance(value, range) else value
            return [name, [encode(item) for item in items]]
    # Looked up, not imported: a program that uses them has them.
    for module, name in (("fractions", "Fraction"), ("decimal", "Decimal")):
        if module in sys.modules and isinstance(value, getattr(sys.modules[module], name)):
            return [name, str(value) if name == "Decimal" else [encode(value.numerator), encode(value.denominator)]]
    if isinstance(value, Iterable) and not isinstance(value, type):
        return ["iterator", [encode(item) for item in itertools.islice(value, _MAX_LAZY_ITEMS)]]
    return {OPAQUE: type(value).__name__}


def decode(form: Any) -> Any:
    """Returns the value of an encoded form, made of built-in types and `Opaque`.

    Raises:
        ValueError, TypeError: the form is not one that `encode` makes; it may come from anybody.
    """
    if not isinstance(form, list):
        if isinstance(form, dict):
            return Opaque()
        if form is None or isinstance(form, (bool, int, float, str)):
            return form
        raise ValueError("not a value")
    name, contents = form
    if name in _SEQUENCES:
        items = [decode(item) for item in contents]
        return range(*items) if name == "range" else _SEQUENCES[name](items)
    return _DECODERS[str(name)](contents) if name in _DECODERS else _unknown(name)


def _unknown(name: Any) -> Any:
    raise ValueError(f"no type {name!r} crosses")


def _fraction(contents: Any) -> Any:
    from fractions import Fraction

    return Fraction(*(decode(part) for part in contents))


def _decimal(contents: Any) -> Any:
    from decimal import Decimal

    return Decimal(contents)


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "int": lambda contents: int(contents, 16),
    "complex": lambda contents: complex(*contents),
    "dict": lambda contents: {decode(key): decode(item) for key, item in contents},
    "iterator": lambda contents: iter([decode(item) for item in contents]),
    "Fraction": _fraction,
    "Decimal": _decimal,
}
