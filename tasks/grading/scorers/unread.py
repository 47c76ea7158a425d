r"""Tells what of a normalized text the parser would drop or misread: words, bases, times of day, marks."""

from __future__ import annotations

import re

_ROWS = re.compile(r"matrix|\\begin|cases|array")
_COMMAND = re.compile(r"\\[A-Za-z]+")
_TEXT = re.compile(r"\\text\s*\{([^{}]*)\}")
_FUNCTIONS = {"sin", "cos", "tan", "cot", "sec", "csc", "log", "ln", "exp", "max", "min", "gcd", "lcm", "det",
              "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "matrix", "pmatrix",
              "bmatrix", "vmatrix", "array", "cases"}  # fmt: skip
_BARE_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,}(?![A-Za-z])")
_COMMON = {"is", "not", "the", "for", "odd", "even", "and", "or", "if", "no", "yes", "are", "all", "any", "than", "mod",
           "base",
           "am", "pm", "in", "at", "to", "of", "with", "less", "more", "but", "only", "none", "deg"}  # fmt: skip
_MARKS = re.compile(
    r"\\(?:ldots|vdots|sim|cong|perp|parallel|pmod|equiv|mapsto|to|mid|nmid|implies|iff|forall|exists|overline|underline|hat|vec|tilde)(?![A-Za-z])|[?&#@]|(?<=[0-9A-Za-z)])'"
)
_CLOCK = re.compile(r"^[0-9]{1,2}:[0-5][0-9]$")
_BASE = re.compile(r"(?<![A-Za-z])[0-9A-F]*[0-9][0-9A-F]*\)?\s*_\s*(?:\{?\s*[0-9]+\s*\}?)")
_CAPITALS = re.compile(r"[A-Z]{2,}")
_PURE_WORDS = re.compile(r"(?:\\text\{[^{}\\]*\}|[\w\s.,'()-])+")


def unread(text: str) -> str | None:
    """Returns what of a normalized text the parser would drop or misread, or None."""
    for match in _TEXT.finditer(text):
        if re.search(r"\w", match.group(1)):
            return f"the words {match.group(1).strip()[:40]!r}"
    bare = _COMMAND.sub(" ", _TEXT.sub(" ", text))
    for match in _BARE_WORD.finditer(bare):
        word = match.group()
        if word not in _FUNCTIONS and (len(word) > 3 or word.lower() in _COMMON):
            return f"the word {word[:40]!r}"
    if _CLOCK.match(text):
        return "a time of day"
    if _BASE.search(text):
        return "a base"
    if _CAPITALS.fullmatch(text):
        return "names of points"
    mark = _MARKS.search(text if not _ROWS.search(text) else text.replace("&", ""))
    if mark and (mark.group(), text[:2]) != ("\\mid", "\\{") and not (mark.group() == "\\to" and "\\lim" in text):
        return f"the mark {mark.group()!r}"
    return "a sign of another script" if not text.isascii() else None


def is_words(text: str) -> bool:
    """Tells whether a normalized text is words alone (`Evelyn`, `January 5`): compared as text, it can judge."""
    if "\\text" in text and re.search(r"[A-Za-z]", _TEXT.sub("", text)):
        return False
    return (
        bool(_PURE_WORDS.fullmatch(text))
        and bool(re.search(r"[^\W\d_]{2}", text))
        and not re.search(r"[=+*/^<>]", text)
    )


def as_words(text: str) -> str:
    """Returns the words of a normalized text, for comparing texts: no layout, no case except in short capitals."""
    text = _TEXT.sub(r" \1 ", text)
    text = re.sub(r"\\ |[{}]", " ", re.sub(r"_\{?([0-9A-Za-z]+)\}?", r"_\1", text))
    text = re.sub(r"\b([ap])\.\s?m\b\.?", r"\1m", re.sub(r"\s+", " ", text)).strip(" .")
    text = re.sub(r"\s*([-+*/=<>,:;()\[\]])\s*", r"\1", text)
    letters = re.sub(r"[^A-Za-z]", "", text)
    if letters.lower() in _COMMON:
        return text.lower()
    return text if len(letters) <= 3 or (letters.isupper() and len(letters) <= 5) else text.lower()
