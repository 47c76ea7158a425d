r"""Decides plainly written numbers and equal texts without math-verify, only where the two provably agree.

Read are, in ASCII and after stripping: integers (`46`, `-046`, `+5`, `1,234`, `1{,}234`), decimals (`2.50`, `.5`) and
simple fractions (`3/4`, `-\frac{3}{4}`, `\dfrac34` with one-digit parts). math-verify turns integers and fractions into
exact rationals and decimals into 53-bit floats, and calls two numbers equal when they are the same rational, or, once a
float takes part, when both round to the same six decimals. Hence, for values below 10^9 in size:

    neither is a decimal:  right iff equal, provided unequal ones differ by more than 1e-9 (it chops at 15 digits)
    one is a decimal:      right if equal with at most six decimals; wrong if they differ by more than 1e-5

Everything between (and everything longer than 15 digits but for pairs of integers) is left to math-verify.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import NamedTuple

MAX_LENGTH = 1000
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_GROUPED = re.compile(r"-?[1-9][0-9]{0,2}(?:(?:,|\{,\})[0-9]{3})+", re.ASCII)
_DECIMAL = re.compile(r"-?[0-9]*\.([0-9]+)", re.ASCII)
_SLASH = re.compile(r"(-?)([0-9]+)/([0-9]+)", re.ASCII)
# math-verify repairs one doubled backslash before a command, as data files have it.
_FRAC = re.compile(r"(-?)\\\\?[dtc]?frac(?:\{(-?[0-9]+)\}\{([0-9]+)\}|([0-9])([0-9]))", re.ASCII)
_NUMBER = r"-?[0-9]+(?:\.[0-9]+)?|-?\\frac\{[0-9]+\}\{[0-9]+\}"
_ASSIGNED = re.compile(rf"[abcghj-zABCGHJ-Z] *= *({_NUMBER})", re.ASCII)
_BRACKETED = re.compile(r"(?:\\left)?\( *(-?[0-9]+) *(?:\\right)?\)", re.ASCII)
# Only words that are units: `12\text{ squared}` is not 12. All others are left to `normalize`.
_UNIT = (
    r"(?:square |cubic )?(?:[cmk]?m|units?|feet|inch(?:es)?|miles?|hours?|minutes?|days?|degrees?|met(?:er|re)s?"
    r"|dollars|cents)"
)
_WITH_UNIT = re.compile(
    rf"({_NUMBER}) *(?:\\text\{{ *(?:{_UNIT}) *\}}|\^\\\\?circ|\^\{{\\\\?circ\}})",
    re.ASCII,
)
_DEGREES = re.compile(r"(?<=[0-9])(?:\^\\\\?circ|\^\{\\\\?circ\})$", re.ASCII)
# Only ASCII, and no percent sign, dollar or quote, which its normalization moves or drops.
_ORDINARY = re.compile(r"[0-9A-Za-z+\-*/^_=<>(),.;:!|\[\]{}\\ ]+", re.ASCII)
_LEFT_RIGHT = re.compile(r"\\left(?=[(\[|]|\\\{)|\\right(?=[)\]|]|\\\})")
_DROPPED = re.compile(r"\\displaystyle(?![A-Za-z])|\\! *")
_FRAC_COMMAND = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_COMMAND = re.compile(r"\\[A-Za-z]+|\{th\}")
_MAX_DIGITS = 15
_MAX_VALUE = 10**9


class Numeral(NamedTuple):
    """A number as written: exact value, and the count of decimals (-1 where it has no decimal point)."""

    value: Fraction
    decimals: int


def read_integer(text: str) -> int | None:
    """Returns the integer a stripped text writes, or None."""
    if len(text) > MAX_LENGTH:
        return None
    if _INTEGER.fullmatch(text):
        return int(text)
    if _GROUPED.fullmatch(text):
        return int(text.replace(",", "").replace("{", "").replace("}", ""))
    return None


def read_numeral(text: str) -> Numeral | None:
    """Returns the decimal or simple fraction a stripped text writes, or None (also for more than 15 digits)."""
    if len(text) > 3 * _MAX_DIGITS:
        return None
    match = _DECIMAL.fullmatch(text)
    if match:
        short = len(text.lstrip("-")) <= _MAX_DIGITS + 1
        return Numeral(Fraction(text), len(match.group(1))) if short else None
    match = _SLASH.fullmatch(text) or _FRAC.fullmatch(text)
    if match:
        sign, *rest = match.groups()
        numerator, denominator = (part for part in rest if part is not None)
        if int(denominator) == 0 or len(numerator) > _MAX_DIGITS or len(denominator) > _MAX_DIGITS:
            return None
        value = Fraction(int(numerator), int(denominator))
        return Numeral(-value if sign else value, -1)
    integer = read_integer(text)
    return None if integer is None else Numeral(Fraction(integer), -1)


def same_plain_number(ground_truth: str, answer: str) -> bool | None:
    """Tells whether two stripped texts write one number, as math-verify would; None where math-verify must decide."""
    first, second = read_integer(ground_truth), read_integer(answer)
    if first is not None and second is not None:
        return first == second
    one, other = read_numeral(ground_truth), read_numeral(answer)
    if one is None or other is None:
        return None
    if max(abs(one.value), abs(other.value)) >= _MAX_VALUE:
        return None
    distance = abs(one.value - other.value)
    decimals = max(one.decimals, other.decimals)
    if decimals < 0:
        return True if distance == 0 else False if distance > Fraction(1, 10**9) else None
    if distance == 0 and decimals <= 6:
        return True
    return False if distance > Fraction(1, 10**5) else None


def same_number(ground_truth: str, answer: str) -> bool | None:
    """Like `same_plain_number`, and also reads numbers with a prefix or unit that math-verify strips.

    That is `x =` before an answer, parentheses around an integer, and a unit in text or a degree sign behind.
    """
    decided = same_plain_number(ground_truth, answer)
    if decided is not None or len(ground_truth) > MAX_LENGTH or len(answer) > MAX_LENGTH:
        return decided
    ground_truth = _DEGREES.sub("", ground_truth)
    match = _ASSIGNED.fullmatch(answer) or _WITH_UNIT.fullmatch(answer) or _BRACKETED.fullmatch(answer)
    return same_plain_number(ground_truth, match.group(1) if match else answer)


def same_text(ground_truth: str, answer: str) -> bool:
    """Tells whether two stripped texts are certainly one to math-verify; False says nothing."""
    if not _ORDINARY.fullmatch(ground_truth) or not _ORDINARY.fullmatch(answer):
        return False
    if "\\boxed" in ground_truth or "\\fbox" in ground_truth or not _has_content(ground_truth):
        return False
    return ground_truth == answer or _without_layout(ground_truth) == _without_layout(answer)


def _has_content(text: str) -> bool:
    return any("0" <= letter <= "9" for letter in text) or any(map(str.isalpha, _COMMAND.sub("", text)))


def _without_layout(text: str) -> str:
    return _FRAC_COMMAND.sub(r"\\frac", _DROPPED.sub("", _LEFT_RIGHT.sub("", text)))
