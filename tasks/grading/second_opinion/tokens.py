r"""Splits an answer into tokens, after Unicode mathematics and typesetting commands were replaced or dropped."""

from __future__ import annotations

import re
from typing import NamedTuple

from tasks.grading.second_opinion.nodes import UnreadError

MAX_LENGTH = 2_000
MAX_TOKENS = 800


class Token(NamedTuple):
    """A piece of an answer: kind `number`, `symbol`, `command`, `relation`, `words`, `separator`, `sign` or `end`."""

    kind: str
    text: str


_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_UNICODE = {
    "π": "\\pi ", "∞": "\\infty ", "√": "\\sqrt ", "°": "^\\circ ", "×": "\\times ", "·": "\\cdot ", "÷": "/",
    "−": "-", "–": "-", "±": "\\pm ", "≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "∪": "\\cup ", "∈": "\\in ",
    "½": " \\frac{1}{2}", "¼": " \\frac{1}{4}", "¾": " \\frac{3}{4}", "⅓": " \\frac{1}{3}", "⅔": " \\frac{2}{3}",
    "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ", "∅": "\\emptyset ", "ℝ": "\\mathbb{R}", "…": "\\ldots ",
    "£": "", "¥": "", "€": "", "✓": "", "✅": "", "\u00a0": " ", "\u202f": " ", "，": ",",
}  # fmt: skip
_DROPPED = re.compile(
    r"\\(?:left|right|bigg?[lr]?|Bigg?[lr]?|displaystyle|textstyle|limits|checkmark|quad|qquad)(?![A-Za-z])"
    r"|\\[!;:]|\\[()\[\]]|\\\$|\$|~"
)
_TEXT = r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|mbox|mathrm|mathbf|mathit|mathsf|operatorname|boldsymbol)\s*\{([^{}]*)\}"
_RELATIONS = {
    "=": "=", "<": "<", ">": ">", "\\lt": "<", "\\gt": ">", "\\le": "<=", "\\leq": "<=", "\\leqslant": "<=",
    "<=": "<=", ">=": ">=", "\\ge": ">=", "\\geq": ">=", "\\geqslant": ">=", "\\ne": "!=", "\\neq": "!=",
    "\\in": "in", "\\equiv": "equiv", "\\mid": "mid", "\\vert": "mid",
}  # fmt: skip
FUNCTIONS = {
    "sin", "cos", "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh",
    "ln", "log", "exp",
}  # fmt: skip
UNIT_WORDS = {"cm", "mm", "km", "kg", "mg", "ml", "mL", "ft", "lb", "oz", "mph", "USD", "EUR", "GBP", "CNY", "hr"}
_THREE_LETTER_WORDS = {"and", "not", "odd", "all", "for", "the", "yes", "men", "day", "mod", "one", "two", "six", "ten"}
_TOKEN = re.compile(
    r"(?P<words>" + _TEXT + r")"
    r"|(?P<repeating>\d*\.\d*\\(?:overline|bar|dot)\s*(?:\{\d+\}|\d))"
    r"|(?P<number>(?:\d+\.\d+|\d+|\.\d+)(?:[eE][+-]?\d+(?![A-Za-z]))?)"
    r"|(?P<command>\\[A-Za-z]+)|(?P<row>\\\\)|(?P<relation><=|>=|[=<>])|(?P<name>[A-Za-z]+)"
    r"|(?P<sign>\\[{}%]|[-+*/^_!(){}\[\]|:&%,;])",
    re.ASCII,
)
_MIXED = re.compile(
    r"(?<![\w.^/}])(\d{1,9})(?:\s+(\d{1,9})/(\d{1,9})(?!\d)|\s*\\[dt]?frac\s*(?:\{(\d{1,9})\}\{(\d{1,9})\}|(\d)(\d)))"
)
_GROUPED = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")


def prepared(text: str) -> str:
    """Returns the text with Unicode mathematics as commands and without commands that only set type."""
    if len(text) > MAX_LENGTH:
        raise UnreadError(f"longer than {MAX_LENGTH} characters")
    text = re.sub(r"[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda run: "^{" + run.group().translate(_SUPERSCRIPTS) + "}", text)
    for letter, command in _UNICODE.items():
        text = text.replace(letter, command)
    if "\\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z{}%$!])", r"\\", text)
    text = re.sub(r"\\f?boxed\s*(?=\{)|\\fbox\s*(?=\{)", "", text)
    text = re.sub(r"(?<=\d)(?:\{,\}|,\\!|\\,)(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"(?<!\\)\\[, ]", " ", _DROPPED.sub("", text))
    return _MIXED.sub(_improper, text).strip().removesuffix(".").strip()


def _improper(match: re.Match[str]) -> str:
    r"""`1\frac{3}{4}` and `1 3/4`: a whole number before a proper fraction of whole numbers."""
    whole, top, bottom = (int(part) for part in match.groups() if part is not None)
    return f"\\frac{{{whole * bottom + top}}}{{{bottom}}}" if 0 < top < bottom else match.group()


def has_grouped_digits(text: str) -> bool:
    """Tells whether a comma may stand in one number or between two."""
    return _GROUPED.search(text) is not None


def tokenize(text: str) -> list[Token]:
    """Splits a prepared text; `1,234` outside of all delimiters is one number.

    Raises:
        UnreadError: a letter has no place in the grammar, or there are too many tokens.
    """
    tokens: list[Token] = []
    place, depth = 0, 0
    while place < len(text):
        if text[place].isspace():
            place += 1
            continue
        group = _GROUPED.match(text, place) if depth == 0 else None
        if group is not None:
            text = text[:place] + group.group().replace(",", "") + text[group.end() :]
        match = _TOKEN.match(text, place)
        if match is None:
            raise UnreadError(f"cannot read {text[place : place + 12]!r}")
        pieces = _pieces(match, tokens)
        for piece in pieces:
            depth += (piece.text in ("(", "[", "\\{")) - (piece.text in (")", "]", "\\}"))
        tokens += pieces
        place = match.end()
        if len(tokens) > MAX_TOKENS:
            raise UnreadError(f"more than {MAX_TOKENS} tokens")
    return tokens


def _pieces(match: re.Match[str], before: list[Token]) -> list[Token]:
    kind, text = match.lastgroup or "", match.group()
    if match.group("words") is not None:
        return _from_text(match.group(2))
    if kind == "name":
        return _from_letters(text, before)
    if kind == "repeating":
        return [Token("number", text)]
    if kind == "row":
        return [Token("separator", "\\\\")]
    if text in _RELATIONS:
        return [Token("relation", _RELATIONS[text])]
    if text in ("\\vee", "\\lor", "\\land", "\\wedge"):
        return [Token("separator", "or")]
    if text in (",", ";"):
        return [Token("separator", ",")]
    if text[1:] in FUNCTIONS:
        return [Token("function", text[1:])]
    return [Token(kind, "%" if text == "\\%" else text)]


def _from_text(content: str) -> list[Token]:
    """A command for upright letters: a letter, a connective, a number, or words."""
    content = " ".join(content.split())
    if not content:
        return []
    if re.fullmatch(r"\(?[A-Za-z]\)?", content):
        return [Token("symbol" if content.isalpha() else "label", content.strip("()"))]
    if re.fullmatch(r"[, ]*(?:and|or)[, ]*", content):
        return [Token("separator", content.strip(", "))]
    if re.fullmatch(r"\d+(?:\.\d+)?", content):
        return [Token("number", content)]
    if content in FUNCTIONS:
        return [Token("function", content)]
    return [Token("words", content)]


def _from_letters(run: str, before: list[Token]) -> list[Token]:
    """Letters without a command: a function, words, a name of capitals, or variables side by side."""
    if run in FUNCTIONS:
        return [Token("function", run)]
    if run in ("pi", "sqrt", "infty"):
        return [Token("command", "\\" + run)]
    if run in ("and", "or"):
        return [Token("separator", run)]
    if run in UNIT_WORDS or run.lower() in _THREE_LETTER_WORDS or run in ("is", "am", "pm", "no") or len(run) > 3:
        return [Token("words", run)]
    if before and before[-1].kind == "words":
        return [Token("words" if len(run) > 1 else "symbol", run)]
    if len(run) > 1 and run.isupper():
        return [Token("symbol", run)]
    return [Token("symbol", letter) for letter in run]
