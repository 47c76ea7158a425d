"""Refuses answers whose exact evaluation could not end: towers of powers, huge factorials, sums and nesting.

The pool would kill a worker that tries; refusing first costs microseconds instead of the time limit. Sizes are
estimated on the parsed, still unevaluated tree with floats: an estimate that overflows is too large, one that cannot
be made (symbols, unknown functions) refuses nothing and is left to the time limit.

Not covered: slow symbolic work (integrals, simplification); the time limit ends that.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

MAX_DEPTH = 60
MAX_DIGITS = 20_000
MAX_FACTORIAL = 5_000
MAX_TERMS = 100_000
MAX_EXPANSION_POWER = 500
MAX_NODES = 20_000
# The parser computes binomial coefficients while it reads them, so these are refused as text.
_BIG_BINOMIAL = re.compile(r"\\[dt]?binom\s*\{[^{}]*[0-9]{6}|[0-9]{6}[^{}]{0,20}\\choose")


def unreadable(text: str) -> str | None:
    """Returns why a text must not even be parsed, or None."""
    if nested_too_deeply(text):
        return f"brackets nested deeper than {MAX_DEPTH}"
    return "too large a binomial coefficient" if _BIG_BINOMIAL.search(text) else None


def nested_too_deeply(text: str) -> bool:
    """Tells whether brackets of any kind nest deeper than 60, as no answer needs and the parser takes minutes for."""
    if text.count("{") + text.count("(") + text.count("[") <= MAX_DEPTH:
        return False
    depth = 0
    for letter in text:
        if letter in "{([":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif letter in "})]":
            depth -= 1
    return False


def too_large(expression: Any) -> str | None:
    """Returns why a parsed sympy expression must not be evaluated, or None."""
    import sympy

    for count, node in enumerate(_nodes(expression)):
        if count > MAX_NODES:
            return "too many terms"
        if isinstance(node, sympy.Pow):
            if _digits_of_power(node) > MAX_DIGITS:
                return "too large a power"
            if node.base.is_Add and node.base.free_symbols and abs(_estimate(node.exp)) > MAX_EXPANSION_POWER:
                return "too large an expansion"
        if isinstance(node, (sympy.factorial, sympy.factorial2, sympy.subfactorial)):
            if abs(_estimate(node.args[0])) > MAX_FACTORIAL:
                return "too large a factorial"
        elif isinstance(node, sympy.binomial):
            if max(abs(_estimate(arg)) for arg in node.args) > MAX_TERMS:
                return "too large a binomial coefficient"
        elif isinstance(node, (sympy.Sum, sympy.Product)) and _terms(node) > MAX_TERMS:
            return "too many terms in a sum or product"
    return None


def _nodes(expression: Any) -> Iterator[Any]:
    stack = [expression]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(getattr(node, "args", ()))


def _digits_of_power(power: Any) -> float:
    """Digits of base^exponent for an exact base; 0 where the power stays symbolic or is a float."""
    base, exponent = power.args
    if base.is_Float or base.free_symbols or (base.is_Rational and base in (-1, 0, 1)):
        return 0.0
    size = abs(_estimate(base))
    digits = abs(_estimate(exponent)) * max(abs(math.log10(size)) if 0 < size < math.inf else 400.0, 0.3)
    exact = base.is_Rational or not base.is_Atom
    return digits if exact and not math.isnan(digits) else 0.0


def _terms(node: Any) -> float:
    lengths = [abs(_estimate(limit[2]) - _estimate(limit[1])) for limit in node.limits if len(limit) == 3]
    # Sums to infinity have closed forms or none; only a finite count of terms is added up one by one.
    return max((length for length in lengths if length != math.inf), default=0.0)


def _estimate(node: Any, depth: int = 0) -> float:
    """Approximate value of a tree as a float; inf when it overflows, nan when unknown."""
    if depth > MAX_DEPTH:
        return math.nan
    try:
        if node.is_Number or node.is_NumberSymbol:
            return float(node)
        values = [_estimate(arg, depth + 1) for arg in node.args]
        return _combine(node, values)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError, ZeroDivisionError, AttributeError):
        return math.nan


def _combine(node: Any, values: list[float]) -> float:
    name = type(node).__name__
    if name == "Add":
        return sum(values)
    if name == "Mul":
        return math.prod(values)
    if name == "Pow":
        return abs(values[0]) ** values[1]
    if name in ("factorial", "factorial2"):
        return math.gamma(values[0] + 1)
    return values[0] if name == "UnevaluatedExpr" else math.nan
