r"""Compares what two texts write: exactly where both are exact, by relative error where one is a decimal.

Numbers and expressions are compared by value (50 digits, and at several points where there are unknowns), lists and
tuples element by element, named values by name, inequalities as sets. Equations and all else are left to math-verify's
`verify` on the trees, which were read whole. Runs in a worker process.
"""

from __future__ import annotations

from typing import Any

from tasks.grading.scorers.reading import as_set
from tasks.grading.scorers.values import DIGITS, by_math_verify, equal_matrices, equal_values


def equal(gold: Any, answer: Any, digits: int) -> bool:
    """Tells whether an answer has the value of a gold answer.

    Args:
        gold: sympy object, read whole.
        answer: sympy object, read whole.
        digits: significant digits of the shortest decimal in either text; a short decimal approximates nothing.
    """
    from sympy import Eq, Expr, MatrixBase, Set, Tuple
    from sympy.core.relational import Relational
    from sympy.logic.boolalg import And

    answer = _unwrapped(gold, answer)
    if answer is None:
        return False
    if isinstance(gold, Eq) and not _is_equation(answer) and _names_value(gold.lhs):
        gold = gold.rhs
    gold, answer = _as_pair(gold, answer), _as_pair(answer, gold)
    gold_items, answer_items = _items(gold), _items(answer)
    if gold_items is not None or answer_items is not None:
        if gold_items is not None and answer_items is not None:
            return _equal_items(gold, gold_items, answer, answer_items, digits)
        return False
    if isinstance(gold, Expr) and isinstance(answer, Expr):
        return equal_values(gold, answer, digits)
    if isinstance(gold, MatrixBase) or isinstance(answer, MatrixBase):
        return equal_matrices(gold, answer, digits)
    if isinstance(gold, (Relational, And, Set)) and isinstance(answer, (Relational, And, Set)):
        return _equal_relations(gold, answer)
    return False if isinstance(gold, Tuple) or isinstance(answer, Tuple) else by_math_verify(gold, answer)


def _is_equation(tree: Any) -> bool:
    from sympy import Eq
    from sympy.logic.boolalg import And

    return isinstance(tree, Eq) or (isinstance(tree, And) and all(isinstance(part, Eq) for part in tree.args))


def _names_value(side: Any) -> bool:
    """Tells whether a left side only names a value: a symbol, f(x), letters in a row."""
    from sympy import Abs, Symbol
    from sympy.core.function import AppliedUndef

    if isinstance(side, (Symbol, AppliedUndef, Abs)):
        return True
    return bool(side.is_Mul) and all(isinstance(part, (Symbol, AppliedUndef)) for part in side.args)


def _unwrapped(gold: Any, answer: Any) -> Any | None:
    """The value an equation assigns, where the gold answer is no equation; None where it assigns none."""
    if _is_equation(gold) or not _is_equation(answer):
        return answer
    first, last = _ends(answer)
    if _names_value(first):
        return last
    if not first.free_symbols and not last.free_symbols:
        return last if equal_values(first, last, DIGITS) else None
    return None


def _ends(equation: Any) -> tuple[Any, Any]:
    parts = getattr(equation, "_unsorted_args", None) or equation.args
    from sympy import Eq

    return (equation.lhs, equation.rhs) if isinstance(equation, Eq) else (parts[0].lhs, parts[-1].rhs)


def _as_pair(tree: Any, other: Any) -> Any:
    """An open interval is a pair where the other side is a list or a tuple."""
    from sympy import Interval, Tuple

    is_pair = isinstance(tree, Interval) and tree.left_open and tree.right_open and _items(other) is not None
    return Tuple(tree.start, tree.end) if is_pair else tree


def _items(tree: Any) -> tuple[Any, ...] | None:
    """The elements of a list, a set or a tuple; an open interval may be a pair."""
    from sympy import FiniteSet, Tuple

    if isinstance(tree, Tuple):
        return tuple(tree.args)
    if isinstance(tree, FiniteSet):
        return tuple(getattr(tree, "_unsorted_args", tree.args))
    if _is_equation(tree) and not hasattr(tree, "_unsorted_args") and isinstance(tree.rhs, FiniteSet):
        return _items(tree.rhs)
    return None


def _equal_items(gold: Any, golds: tuple[Any, ...], answer: Any, answers: tuple[Any, ...], digits: int) -> bool:
    from sympy import Tuple

    gold_names, answer_names = _named(golds), _named(answers)
    if gold_names and answer_names:
        return gold_names.keys() == answer_names.keys() and all(
            equal(gold_names[name], answer_names[name], digits) for name in gold_names
        )
    golds, answers = _values(golds, gold_names), _values(answers, answer_names)
    # Named values answered without names stand in the order of the names; two lists of candidates in any order.
    if isinstance(gold, Tuple) or (gold_names and not answer_names):
        return len(golds) == len(answers) and all(equal(a, b, digits) for a, b in zip(golds, answers, strict=True))
    return _same_elements(golds, answers, digits)


def _named(elements: tuple[Any, ...]) -> dict[Any, Any] | None:
    """Values by name, where each element names another unknown (`a=3, b=5`)."""
    from sympy import Eq

    if not all(isinstance(each, Eq) and _names_value(each.lhs) for each in elements):
        return None
    values = {str(each.lhs): each.rhs for each in elements}
    return values if len(values) == len(elements) > 1 else None


def _values(elements: tuple[Any, ...], names: dict[Any, Any] | None) -> tuple[Any, ...]:
    """The values alone, named ones in the order of their names."""
    from sympy import Eq

    if names:
        return tuple(names[name] for name in sorted(names))
    return tuple(each.rhs if isinstance(each, Eq) and _names_value(each.lhs) else each for each in elements)


def _same_elements(golds: tuple[Any, ...], answers: tuple[Any, ...], digits: int) -> bool:
    """Compares without order and without repetitions."""
    if len(golds) > 200 or len(answers) > 200:
        return False
    return all(any(equal(one, other, digits) for other in answers) for one in golds) and all(
        any(equal(one, other, digits) for one in golds) for other in answers
    )


def _equal_relations(gold: Any, answer: Any) -> bool:
    from sympy import Eq

    if isinstance(gold, Eq) and isinstance(answer, Eq) and not gold.free_symbols and not answer.free_symbols:
        return _same_sides(gold, answer)
    one, other = as_set(gold), as_set(answer)
    if one is not None and other is not None:
        if _unknown(gold) and _unknown(answer) and _unknown(gold) != _unknown(answer):
            return False
        return bool(one == other) or _equal_sets(one, other)
    return by_math_verify(gold, answer)


def _unknown(tree: Any) -> str | None:
    from sympy import Set

    symbols = set() if isinstance(tree, Set) else {str(symbol) for symbol in tree.free_symbols}
    return symbols.pop() if len(symbols) == 1 else None


def _same_sides(gold: Any, answer: Any) -> bool:
    """Equations without an unknown: the same sides, summands in any order."""

    def summands(side: Any) -> list[str]:
        return sorted(map(str, side.args if side.is_Add else [side]))

    return summands(gold.lhs) == summands(answer.lhs) and summands(gold.rhs) == summands(answer.rhs)


def _equal_sets(one: Any, other: Any) -> bool:
    from sympy import Interval, Union

    if isinstance(one, Interval) and isinstance(other, Interval):
        if (one.left_open, one.right_open) != (other.left_open, other.right_open):
            return False
        return _equal_ends(one.start, other.start) and _equal_ends(one.end, other.end)
    if isinstance(one, Union) and isinstance(other, Union) and len(one.args) == len(other.args):
        return all(any(_equal_sets(part, rest) for rest in other.args) for part in one.args)
    return by_math_verify(one, other)


def _equal_ends(one: Any, other: Any) -> bool:
    if one == other:
        return True
    if one.is_infinite or other.is_infinite:
        return False
    return equal_values(one, other, DIGITS)
