r"""Strips the dress of a mathematical answer: what changes its looks and not its value. Text in, text out.

`normalize` applies the rules of `RULES` in the order written there; each is a small function on text with its own
tests. What a rule does not know it leaves, and `unread` then tells that words or marks are left which the parser would
drop or misread: for an answer the verdict is "wrong", for a ground truth "unjudged".

Decided once: a percentage equals the number before its sign as well as its hundredth (`28\%`, `28` and `0.28` are
equal where one of the two is written with a sign); degrees are a unit outside of trigonometric functions.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from tasks.grading.scorers.dress_latex import doubled_backslashes, fonts, layout, spellings, unicode_mathematics
from tasks.grading.scorers.dress_values import degrees, money, numbers, percent, units
from tasks.grading.scorers.dress_words import connectives, remarks
from tasks.grading.scorers.number_words import number_words

MAX_LENGTH = 4_000

RULES: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("doubled backslashes", doubled_backslashes),
    ("Unicode mathematics", unicode_mathematics),
    ("layout", layout),
    ("fonts", fonts),
    ("spellings", spellings),
    ("remarks", remarks),
    ("percent", percent),
    ("number words", number_words),
    ("connectives", connectives),
    ("money", money),
    ("degrees", degrees),
    ("units", units),
    ("numbers", numbers),
)


@functools.lru_cache(maxsize=4096)
def normalize(text: str) -> str:
    """Returns the text without its dress; longer texts than 4,000 characters as they are."""
    if len(text) > MAX_LENGTH:
        return text
    text = text.strip()
    for _, rule in RULES:
        text = rule(text)
    text = re.sub(r"\s+", " ", text).strip()
    while len(text) > 2 and text[0] == "{" and text[-1] == "}" and _wraps(text):
        text = text[1:-1].strip()
    return text


def _wraps(text: str) -> bool:
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "{") - (letter == "}")
        if depth == 0:
            return place == len(text) - 1
    return False
