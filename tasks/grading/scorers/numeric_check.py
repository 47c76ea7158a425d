r"""Finds answers that are certainly wrong by putting numbers into both, without math-verify.

Both texts are read by a small grammar (sums, products and powers of integers, `\pi`, `\sqrt`, `\frac` and single
lower-case letters) and evaluated with one fixed value per letter and a bound on the rounding error. Where they differ,

    |a - b| > 1e-6 max(1, |a|, |b|) + 2 (error of a + error of b)

no sound simplification turns `a - b` into zero, so math-verify, which tries exactly that, finds them different too.
Equal values prove nothing here and are left to it. The grammar stops at everything that math-verify reads in a way of
its own: mixed numbers (`3\frac12`), slashes, decimals, functions, `d`, `e`, `f` and `i`, letters side by side (`or`,
`cm`) and a last letter that it would drop as a unit (`3t`).
"""

from __future__ import annotations

import math
import re

from tasks.grading.scorers import bounded_float as balls
from tasks.grading.scorers.bounded_float import Ball

LONGEST = 120
_TOLERANCE = 1e-6
_HALF = Ball(0.5)
_MINUS_ONE = Ball(-1.0)
_TOKEN = re.compile(
    r"(?P<number>[0-9]{1,12})|(?P<letter>[abcghj-z])|(?P<command>\\(?:[dtc]?frac|sqrt|pi|cdot|times)(?![A-Za-z]))"
    r"|(?P<sign>[+\-*^(){}])",
    re.ASCII,
)
_LEFT_RIGHT = re.compile(r"\\left(?=[(])|\\right(?=[)])")
_PERHAPS_UNIT = re.compile(r"[0-9}\s][a-z] *$", re.ASCII)
_ASSIGNMENT = re.compile(r"([abcghj-z]) *= *([^=]+)", re.ASCII)
# Any values will do that satisfy no simple equation with each other.
_LETTERS = {
    letter: 0.7 + 0.618033988749895 * (place + 1) % 1.9 for place, letter in enumerate("abcghjklmnopqrstuvwxyz")
}


class _Unread(ArithmeticError):
    """The text leaves the grammar."""


def clearly_different(gold: str, answer: str) -> bool:
    """Tells whether two stripped texts certainly have different values; False says nothing."""
    one, other = _ASSIGNMENT.fullmatch(gold), _ASSIGNMENT.fullmatch(answer)
    if one and other:
        return one.group(1) == other.group(1) and _values_differ(one.group(2), other.group(2), letters=False)
    return _values_differ(gold, answer, letters=True)


def _values_differ(gold: str, answer: str, letters: bool) -> bool:
    first = evaluate(gold, letters)
    if first is None:
        return False
    second = evaluate(answer, letters)
    if second is None:
        return False
    return balls.certainly_different(first, second, _TOLERANCE)


def evaluate(text: str, letters: bool = True) -> Ball | None:
    """Returns the value of a text with every letter at its fixed value; None where it cannot be read or be trusted."""
    if len(text) > LONGEST:
        return None
    try:
        return _Reader(_tokens(text, letters)).whole()
    except ArithmeticError:
        return None


def _tokens(text: str, letters: bool) -> list[str]:
    """Splits a text. Refuses two numbers in a row, and a number before a fraction (a mixed number)."""
    text = _LEFT_RIGHT.sub("", text.replace("\\\\", "\\"))
    if _PERHAPS_UNIT.search(text):
        raise _Unread
    tokens: list[str] = []
    place = 0
    while place < len(text):
        if text[place] == " ":
            place += 1
            continue
        match = _TOKEN.match(text, place)
        if match is None or (match.lastgroup == "letter" and not letters):
            raise _Unread
        token = match.group()
        last = tokens[-1] if tokens else ""
        if last.isdigit() and (token.isdigit() or token.endswith("frac")):
            raise _Unread
        if last.isalpha() and (token == "(" or token.isalnum()):
            raise _Unread
        tokens.append("\\frac" if token.endswith("frac") else token)
        place = match.end()
    return tokens


class _Reader:
    """Recursive descent over the tokens; depth is bounded by the length of the text."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = [*tokens, ""]
        self.place = 0

    def whole(self) -> Ball:
        """Reads everything."""
        value = self.sum()
        if self.tokens[self.place]:
            raise _Unread
        return value

    def take(self, token: str) -> bool:
        """Steps over a token if it comes next."""
        found = self.tokens[self.place] == token
        self.place += found
        return found

    def need(self, token: str) -> None:
        """Steps over a token that must come next."""
        if not self.take(token):
            raise _Unread

    def sum(self) -> Ball:
        """Reads terms joined by + and -, the first one perhaps signed."""
        value = balls.multiply(_MINUS_ONE, self.product()) if self.take("-") else self.product()
        while True:
            if self.take("+"):
                value = balls.add(value, self.product())
            elif self.take("-"):
                value = balls.add(value, balls.multiply(_MINUS_ONE, self.product()))
            else:
                return value

    def product(self) -> Ball:
        """Reads factors, written side by side or with a multiplication sign."""
        value = self.power()
        while True:
            token = self.tokens[self.place]
            if token in ("*", "\\cdot", "\\times"):
                self.place += 1
            elif not (token.isalpha() or token in ("(", "\\sqrt", "\\pi", "\\frac")):
                return value
            value = balls.multiply(value, self.power())

    def power(self) -> Ball:
        """Reads a factor and an exponent: one digit, one letter or a group in braces."""
        value = self.factor()
        if not self.take("^"):
            return value
        token = self.tokens[self.place]
        if token != "{" and not (len(token) == 1 and token.isalnum()):
            raise _Unread
        exponent = self.group() if token == "{" else self.factor()
        if self.tokens[self.place] == "^":
            raise _Unread
        return balls.power(value, exponent)

    def factor(self) -> Ball:
        """Reads a number, a letter, a command or a group in parentheses."""
        token = self.tokens[self.place]
        self.place += 1
        if token.isdigit():
            return Ball(float(token))
        if token in _LETTERS:
            return balls.rounded(_LETTERS[token], 0.0)
        if token == "\\pi":
            return balls.rounded(math.pi, 0.0)
        if token == "\\frac":
            return balls.divide(self.group(), self.group())
        if token == "\\sqrt":
            return balls.power(self.group(), _HALF)
        if token == "(":
            value = self.sum()
            self.need(")")
            return value
        raise _Unread

    def group(self) -> Ball:
        """Reads `{...}`."""
        self.need("{")
        value = self.sum()
        self.need("}")
        return value
