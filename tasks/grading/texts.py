r"""Decides that two answers are written alike, only where math-verify provably sees one and the same text.

math-verify compares parsed forms and, besides, the normalised texts. Two answers that its own normalisation makes equal
are equal for it whatever they mean and whether they parse or not, provided something is left to compare. Undone here
are only differences it undoes first thing: `\dfrac`, `\tfrac`, `\cfrac` for `\frac`, `\left` and `\right`, and the
spacing commands `\displaystyle` and `\!`. Blanks stay: they make no difference to what parses, but they do to what
does not. Nothing is ever decided to be wrong here.
"""

from __future__ import annotations

import re

# Only ASCII, and no percent sign, dollar or quote, which its normalisation moves or drops.
_ORDINARY = re.compile(r"[0-9A-Za-z+\-*/^_=<>(),.;:!|\[\]{}\\ ]+", re.ASCII)
_LEFT_RIGHT = re.compile(r"\\left(?=[(\[|]|\\\{)|\\right(?=[)\]|]|\\\})")
_DROPPED = re.compile(r"\\displaystyle(?![A-Za-z])|\\! *")
_FRAC = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_COMMAND = re.compile(r"\\[A-Za-z]+|\{th\}")


def same_text(gold: str, answer: str) -> bool:
    """Tells whether two stripped texts are certainly one to math-verify; False says nothing."""
    if not _ORDINARY.fullmatch(gold) or not _ORDINARY.fullmatch(answer):
        return False
    if "\\boxed" in gold or "\\fbox" in gold or not _leaves_something(gold):
        return False
    return gold == answer or _plain(gold) == _plain(answer)


def _leaves_something(text: str) -> bool:
    return any("0" <= letter <= "9" for letter in text) or any(map(str.isalpha, _COMMAND.sub("", text)))


def _plain(text: str) -> str:
    return _FRAC.sub(r"\\frac", _DROPPED.sub("", _LEFT_RIGHT.sub("", text)))
