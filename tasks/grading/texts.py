r"""Decides that two answers are written alike, only where math-verify provably sees one and the same text.

math-verify compares parsed forms and, besides, the normalised texts. Two answers that its own normalisation (or its
lexer, which skips blanks) makes equal are equal for it whatever they mean, provided something is left to compare.
Undone here are only differences it undoes first thing: `\dfrac`, `\tfrac`, `\cfrac` for `\frac`, `\left` and `\right`,
`\displaystyle`, `\!`, and blanks beside one of `,()[]+-=` (outside `\text`, and not before a decimal point, which it
treats in a way of its own). Nothing is ever decided to be wrong here.
"""

from __future__ import annotations

import re

# Only ASCII, and no percent sign, dollar or quote, which its normalisation moves or drops.
_ORDINARY = re.compile(r"[0-9A-Za-z+\-*/^_=<>(),.;:!|\[\]{}\\ ]+", re.ASCII)
_LEFT_RIGHT = re.compile(r"\\left(?=[(\[|]|\\\{)|\\right(?=[)\]|]|\\\})")
_DROPPED = re.compile(r"\\displaystyle(?![A-Za-z])|\\!")
_FRAC = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_BLANKS = re.compile(r"(?<![\\ ]) +(?=[,()\[\]+\-=])|(?<=[,()\[\]+\-=]) +(?![. ])")
_GROUP = re.compile(r"[0-9],[0-9]{3}", re.ASCII)
_COMMAND = re.compile(r"\\[A-Za-z]+|\{th\}")


def same_text(gold: str, answer: str) -> bool:
    """Tells whether two stripped texts are certainly one to math-verify; False says nothing."""
    if not _ORDINARY.fullmatch(gold) or not _ORDINARY.fullmatch(answer):
        return False
    if "\\boxed" in gold or "\\fbox" in gold or not _leaves_something(gold):
        return False
    if gold == answer:
        return True
    plain = _plain(gold)
    # "1, 000" is a pair and "1,000" a thousand: where closing up blanks could make one of the other, do not.
    return plain == _plain(answer) and not _GROUP.search(plain)


def _leaves_something(text: str) -> bool:
    return any("0" <= letter <= "9" for letter in text) or any(map(str.isalpha, _COMMAND.sub("", text)))


def _plain(text: str) -> str:
    text = _FRAC.sub(r"\\frac", _DROPPED.sub("", _LEFT_RIGHT.sub("", text)))
    return text if "\\text" in text or "\\mbox" in text or "\\math" in text else _BLANKS.sub("", text)
