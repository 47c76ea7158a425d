r"""Reads normalized mathematics into sympy, whole or not at all.

math-verify's parser does the work, with three differences: letters keep their case, a text that it does not consume to
the end is not read (math-verify then takes the number it sees first), and nothing is dropped as a unit before.
Runs in a worker process: parsing is slow and may not end.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from tasks.grading.scorers.dress_latex import AND, OR

_EOF = -1
_BUILDER = re.compile(r"^\\\{\s*\(?([a-zA-Z])\)?\s*(?:\\in\s*\\mathbb\{R\}\s*)?(?:\\mid|:|\||\\vert)\s*(.+?)\s*\\\}$")
_CONDITION = re.compile(r"\\text\{[^{}]*\}")
_IMAGINARY = re.compile(r"(?<![A-Za-z\\])i(?![A-Za-z])|(?<=\\pi)\s*i(?![A-Za-z])|(?<=[a-z0-9}])i(?![A-Za-z])|\\imath")
_INDEX = re.compile(r"\\(?:sum|prod)|_\{?i|i\s*=")


class Unreadable(Exception):
    """The text cannot be read whole."""


def has_imaginary_unit(text: str) -> bool:
    """Tells whether an `i` in a text is likely the imaginary unit."""
    return bool(_IMAGINARY.search(text)) and not _INDEX.search(text)


def read(text: str, is_complex: bool) -> Any:
    """Returns the sympy object a normalized text writes.

    Args:
        text: after `normalize`.
        is_complex: whether symbols may be complex, and `i` is the imaginary unit.

    Raises:
        Unreadable: a part of the text could not be read.
    """
    builder = _BUILDER.match(text)
    if builder:
        text = builder.group(2)
    candidates = text.split(OR.strip()) if OR.strip() in text else [text]
    trees = [_read_all(candidate.strip(), is_complex) for candidate in candidates]
    return trees[0] if len(trees) == 1 else _either(trees)


def _read_all(text: str, is_complex: bool) -> Any:
    """Reads conditions that hold together."""
    if AND.strip() not in text:
        return _read_one(text, is_complex)
    sets = [as_set(_read_one(part.strip(), is_complex)) for part in text.split(AND.strip())]
    result = None
    for one in sets:
        if one is None:
            raise Unreadable("conditions on several unknowns")
        result = one if result is None else result.intersect(one)
    return result


@functools.lru_cache(maxsize=256)
def _read_one(text: str, is_complex: bool) -> Any:
    from latex2sympy2_extended.math_normalization import NormalizationConfig, normalize_latex

    if not text:
        raise Unreadable("nothing")
    config = NormalizationConfig(
        basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none", equations=False
    )
    latex = normalize_latex(_percent_as_factor(_parts_as_functions(text)), config)
    try:
        reader = _reader(is_complex)
        tree = reader.parse(latex)
    except RecursionError:
        raise Unreadable("nested too deeply") from None
    except Exception as error:  # the parser raises plain Exception, and what sympy raises on nonsense
        raise Unreadable(str(error).splitlines()[0] if str(error) else type(error).__name__) from None
    if reader.parser.getTokenStream().LA(1) != _EOF:
        raise Unreadable("its end")
    if tree is None or isinstance(tree, (str, bool)):
        raise Unreadable("no expression")
    return _with_imaginary_unit(tree) if is_complex else tree


def _with_imaginary_unit(tree: Any) -> Any:
    """The parser knows `I` alone as the imaginary unit."""
    from sympy import I

    units = {symbol: I for symbol in getattr(tree, "free_symbols", ()) if symbol.name == "i"}
    return tree.xreplace(units) if units else tree


def _percent_as_factor(text: str) -> str:
    return re.sub(r"([0-9.]+)\\%", r"\\frac{\1}{100}", text)


def _parts_as_functions(text: str) -> str:
    return re.sub(r"\|(?=[^|]+\|)([^|]+)\|", r"|{\1}|", text) if text.count("|") == 2 else text


@functools.cache
def _reader_type() -> Any:
    from latex2sympy2_extended.latex2sympy2 import ConversionConfig, _Latex2Sympy

    class WholeReader(_Latex2Sympy):
        """Keeps its parser, which knows whether anything is left."""

        def __init__(self, is_complex: bool) -> None:
            super().__init__(is_real=not is_complex, config=ConversionConfig(lowercase_symbols=False))
            self.parser: Any = None

        def create_parser(self, latex_str: str) -> Any:
            self.parser = super().create_parser(latex_str)
            return self.parser

    return WholeReader


def _reader(is_complex: bool) -> Any:
    return _reader_type()(is_complex)


def _either(trees: list[Any]) -> Any:
    """Joins alternatives: a union of sets where they are inequalities in one unknown, else a set of candidates."""
    from latex2sympy2_extended.sets import FiniteSet
    from sympy import Union

    sets = [as_set(tree) for tree in trees]
    if all(one is not None for one in sets):
        return Union(*sets)
    elements: list[Any] = []
    for tree in trees:
        elements += tree.args if isinstance(tree, FiniteSet) else [tree]
    return FiniteSet(*elements)


def as_set(tree: Any) -> Any | None:
    """Returns the real numbers that fulfil an inequality (chain) in one unknown, a set as itself, None for all else."""
    from sympy import Eq, Interval, Set, Symbol, Union
    from sympy.core.relational import Relational
    from sympy.logic.boolalg import And

    if isinstance(tree, Eq) and isinstance(tree.rhs, Set) and not getattr(tree.rhs, "is_FiniteSet", False):
        return tree.rhs
    if isinstance(tree, (Interval, Union)):
        return tree
    parts = tree.args if isinstance(tree, And) else [tree]
    if not all(isinstance(part, Relational) and not isinstance(part, Eq) for part in parts):
        return None
    symbols = {symbol for part in parts for symbol in part.free_symbols}
    if len(symbols) != 1:
        return None
    unknown, real = symbols.pop(), Symbol("x", real=True)
    try:
        result = None
        for part in parts:
            solution = part.func(part.lhs.subs(unknown, real), part.rhs.subs(unknown, real)).as_set()
            result = solution if result is None else result.intersect(solution)
    except Exception:  # sympy raises many kinds on what it cannot solve
        return None
    return result
