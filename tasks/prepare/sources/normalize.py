r"""Normalized problem text: what two printings of one problem have in common.

Lower case, Unicode folded (NFKC), enumerations ("12.", "## Task 3 -"), drawings and LaTeX layout dropped, spellings of
one symbol unified, then split into tokens joined by single spaces: runs of letters, runs of digits, single CJK
characters and the operators `+ - * / = < > ! %`. `$x^{2}-\dfrac{1}{2}$` becomes `x 2 - frac 1 2`.

Not covered: reordered sentences, renamed variables, translations.
"""

from __future__ import annotations

import re
import unicodedata

OPERATORS = "+-*/=<>!%"
_ENUMERATION = re.compile(
    r"\s*(?:#+\s*)?(?:\[?\(?(?:task|problem|example|question|exercise)\s*[\d.\-–— ]+\)?\]?[.:)]?\s+"
    r"|\[?\(?\d{1,3}(?:\.\d{1,3})?\)?\]?[.):]\s+)",
    re.IGNORECASE,
)
_DRAWING = re.compile(r"\[asy\](?:(?!\[asy\]).){0,9000}?\[/asy\]", re.DOTALL)
_LAYOUT = re.compile(
    r"\\(?:left|right|bigl?|bigr?|displaystyle|text|mathrm|mathbf|mathit|textbf|textit|operatorname|quad|qquad|hfill"
    r"|(?:begin|end)\{[a-zA-Z]+\*?\}(?:\{[lcr|]*\})?)(?![a-zA-Z])|\\[,;:! ]"
)
_SPELLINGS = {
    "dfrac": "frac", "tfrac": "frac", "leqslant": "leq", "le": "leq", "geqslant": "geq", "ge": "geq", "ne": "neq",
    "ldots": "dots", "cdots": "dots", "cdot": "*", "times": "*", "div": "/", "lt": "<", "gt": ">",
}  # fmt: skip
_COMMAND = re.compile(r"\\([a-zA-Z]+)")
_SYMBOLS = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "×": "*", "·": "*", "⋅": "*", "÷": "/", "≤": " leq ", "≥": " geq "}
)
_TOKEN = re.compile(r"[a-z]+|\d+|[぀-ヿ㐀-鿿가-힯]|[^\W\d_]+|[+\-*/=<>!%]")


def normalize(problem: str) -> str:
    """Returns the normalized text of a problem; empty where nothing but layout was in it."""
    text = unicodedata.normalize("NFKC", problem.translate(_SYMBOLS))
    text = _ENUMERATION.sub("", text, count=1) if _ENUMERATION.match(text) else text
    if "[asy]" in text:
        text = _DRAWING.sub(" ", text)
    if "\\" in text:
        text = _LAYOUT.sub(" ", text)
        text = _COMMAND.sub(lambda match: f" {_SPELLINGS.get(match[1], match[1])} ", text)
    return " ".join(_TOKEN.findall(text.lower()))


def numbers(normalized: str) -> list[str]:
    """Returns the numbers of a normalized text in ascending order: templates with other numbers differ here."""
    return sorted(token for token in normalized.split(" ") if token.isdigit())
