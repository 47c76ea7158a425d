r"""Compares the values of two numbers or expressions: exactly where both are exact, else by relative error.

Numbers are evaluated to 50 digits; expressions at several points, of which those count where both are real. A decimal
approximates an exact number that has no finite expansion if it has at least five significant digits. Runs in a worker
process.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

DIGITS = 50
_EXACT = 30
_MAX_DIGITS = 25_000
_RELATIVE_ERROR = 5e-6
_POINTS = (
    Fraction(37, 23),
    Fraction(-41, 29),
    Fraction(67, 19),
    Fraction(-113, 31),
    Fraction(13, 47),
    Fraction(-17, 53),
)
_WHOLE_POINTS = (3, 4, 7)


def equal_values(gold: Any, answer: Any, digits: int) -> bool:
    """Tells whether two numbers or expressions have one value; `digits` as `shortest_decimal` gives them."""
    gold_exact, gold_float = _without_floats(gold)
    answer_exact, answer_float = _without_floats(answer)
    symbols = sorted(gold_exact.free_symbols | answer_exact.free_symbols, key=str)
    if not symbols:
        return _equal_numbers(gold_exact, answer_exact, gold_float, answer_float, digits)
    if gold_float or answer_float:
        return by_math_verify(gold, answer)
    agreed = _agree_at_points(gold_exact, answer_exact, symbols)
    return by_math_verify(gold, answer) if agreed is None else agreed


def _without_floats(tree: Any) -> tuple[Any, bool]:
    from sympy import Float, Rational, UnevaluatedExpr

    floats = tree.atoms(Float)
    tree = tree.xreplace({each: Rational(str(each)) for each in floats}) if floats else tree
    wrapped = tree.atoms(UnevaluatedExpr)
    return (tree.xreplace({each: each.args[0] for each in wrapped}) if wrapped else tree), bool(floats)


def _equal_numbers(gold: Any, answer: Any, gold_float: bool, answer_float: bool, digits: int) -> bool:
    if gold == answer:
        return True
    one, other = _value(gold), _value(answer)
    if one is None or other is None:
        return by_math_verify(gold, answer)
    scale = max(abs(one), abs(other))
    if scale == 0:
        return True
    error = abs(one - other) / scale
    if error < 10.0**-_EXACT:
        return _truly_zero(gold, answer)
    approximate = gold_float != answer_float and digits >= 5 and not _terminates(answer if gold_float else gold)
    return bool(approximate and error < _RELATIVE_ERROR and abs(one - other) < 1e-6 * max(1, scale))


def _truly_zero(gold: Any, answer: Any) -> bool:
    """Numbers that agree to 30 digits: equal unless their difference, as far as it can be told, is none.

    `2022! - 1` and `2022! - 9` agree to 5,000 digits: the difference is evaluated to as many digits as they have.
    """
    from sympy import N, log

    difference = (gold - answer).doit()
    if difference.is_Rational:
        return bool(difference == 0)
    size = abs(_value(gold) or 1)
    digits = min(DIGITS + max(0, int(N(log(size, 10), 10))), _MAX_DIGITS)
    return bool(abs(N(gold, digits) - N(answer, digits)) < min(1, size) * 10.0**-_EXACT)


def _terminates(number: Any) -> bool:
    """Tells whether an exact number has a finite decimal expansion."""
    number = number.doit()
    if not number.is_Rational:
        return False
    bottom = int(number.q)
    for prime in (2, 5):
        while bottom % prime == 0:
            bottom //= prime
    return bottom == 1


def _value(tree: Any) -> Any | None:
    """The number's value to 50 digits, None where it has none."""
    from sympy import I, N, S, oo, zoo

    if tree in (oo, -oo, zoo, S.NaN):
        return None
    try:
        value = N(tree, DIGITS)
    except Exception:  # sympy and mpmath raise many kinds on what has no value
        return None
    real, imaginary = value.as_real_imag()
    if not (real.is_Number and imaginary.is_Number and real.is_finite and imaginary.is_finite):
        return None
    scale = max(abs(real), abs(imaginary))
    real, imaginary = (part if abs(part) > scale * 10.0**-40 else S.Zero for part in (real, imaginary))
    return real + I * imaginary


def _agree_at_points(gold: Any, answer: Any, symbols: list[Any]) -> bool | None:
    """Whether two expressions agree wherever both have a real value; None where too few points have one."""
    seen = 0
    for place in range(len(_POINTS) + len(_WHOLE_POINTS)):
        values = {symbol: _point(place, number) for number, symbol in enumerate(symbols)}
        one, other = _value(gold.subs(values)), _value(answer.subs(values))
        if one is None and other is None:
            continue
        if one is None or other is None:
            return None
        if not (one.is_real and other.is_real) and not (one.has(_imaginary()) and other.has(_imaginary())):
            return False
        if not one.is_real and not gold.has(_imaginary()):
            continue
        seen += 1
        scale = max(abs(one), abs(other))
        if scale and abs(one - other) > scale * 10.0**-38:
            return False
    if seen < 4:
        return None
    difference = gold - answer if gold.has(*_slow()) or answer.has(*_slow()) else (gold - answer).doit()
    return not difference.is_Rational or bool(difference == 0)


def _slow() -> tuple[Any, ...]:
    from sympy import Integral, Limit, Product, Sum

    return Integral, Limit, Product, Sum


def _imaginary() -> Any:
    from sympy import I

    return I


def _point(place: int, number: int) -> Any:
    from sympy import Integer, Rational

    if place < len(_POINTS):
        point = _POINTS[(place + 2 * number) % len(_POINTS)] + Fraction(number, 7)
        return Rational(point.numerator, point.denominator)
    return Integer(_WHOLE_POINTS[place - len(_POINTS)] + 2 * number)


def equal_matrices(gold: Any, answer: Any, digits: int) -> bool:
    """Tells whether two matrices have equal entries."""
    from sympy import MatrixBase

    if not isinstance(gold, MatrixBase) or not isinstance(answer, MatrixBase) or gold.shape != answer.shape:
        return by_math_verify(gold, answer)
    return all(equal_values(one, other, digits) for one, other in zip(gold.flat(), answer.flat(), strict=True))


def by_math_verify(gold: Any, answer: Any) -> bool:
    """Asks math-verify about two trees that were read whole."""
    from tasks.grading.scorers.math import math_verify

    _, verify = math_verify()
    return bool(verify([gold], [answer], allow_set_relation_comp=True))


_DECIMAL = re.compile(r"[0-9]*\.[0-9]+")


def shortest_decimal(*texts: str) -> int:
    """Significant digits of the shortest decimal in texts; 50 where there is none."""
    found = [number.replace(".", "").lstrip("0") for text in texts for number in _DECIMAL.findall(text)]
    return min(map(len, found), default=DIGITS)
