r"""What a completion answers, found without the code of the scorers.

What follows the last `</think>` counts; an unfinished `<think>` answers nothing. Then, in this order: the outer of the
last closed `\boxed` or `\fbox`, what follows the last "answer is", "answer:" or `####`, or a short text as a whole.
"""

from __future__ import annotations

import re

MAX_COMPLETION = 200_000
MAX_BARE = 200
_BOX = re.compile(r"\\f?boxed\s*\{|\\fbox\s*\{")
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)
_PHRASE = re.compile(r"(?:\banswer\b\W{0,4}?(?:\bis\b|:)|####)[\s:*]*", re.IGNORECASE)


def final_answers(completion: str) -> list[str]:
    """Returns the candidates in the order of the text: the contents of all outer boxes, else one text or none."""
    if len(completion) > MAX_COMPLETION:
        return []
    text = re.split(r"</think(?:ing)?>", completion)[-1]
    if "<think" in text:
        return []
    boxes = _boxes(text)
    if boxes:
        return boxes
    phrases = list(_PHRASE.finditer(text))
    if phrases:
        lines = text[phrases[-1].end() :].strip().splitlines()
        return [_undressed(lines[0])] if lines and len(lines[0]) <= MAX_BARE else []
    bare = text.strip()
    return [_undressed(bare)] if bare and len(bare) <= MAX_BARE and "\n" not in bare else []


def _boxes(text: str) -> list[str]:
    found, place = [], 0
    while (match := _BOX.search(text, place)) is not None:
        end = _closing(text, match.end())
        if end is None:
            place = match.end()
            continue
        content = text[match.end() : end].strip()
        if content:
            found.append(content)
        place = end
    return found


def _closing(text: str, start: int) -> int | None:
    depth = 1
    for match in _BRACE.finditer(text, start, start + 10_000):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0:
            return match.start()
    return None


def _undressed(text: str) -> str:
    return text.replace("**", "").strip().removesuffix(".").strip()
