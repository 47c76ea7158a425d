r"""Finds the answer a completion puts into `\boxed{...}`.

The last closed, non-empty box counts: a later box that was cut off by the length limit does not hide an earlier
one, an empty `\boxed{}` (quoted from the prompt) is skipped, and of nested boxes the inner one counts. Braces are
counted as math-verify counts them, escaped ones included. Linear in the length of the text, whatever it holds.
"""

from __future__ import annotations

import re

BOX = "\\boxed"
_TOKEN = re.compile(r"\\boxed\s*\{|[{}]")


def last_boxed(text: str) -> str | None:
    """Returns the content of the last closed non-empty box, stripped, or None where there is none."""
    start = text.rfind(BOX)
    if start < 0:
        return None
    opening = start + len(BOX)
    if text[opening : opening + 1] == "{":
        closing = text.find("}", opening)
        if closing >= 0 and text.find("{", opening + 1, closing) < 0:
            content = text[opening + 1 : closing].strip()
            if content:
                return content
    return _last_closed(text)


def _last_closed(text: str) -> str | None:
    """The general case: one pass with a stack of open braces."""
    best_start, best = -1, None
    stack: list[tuple[int, bool]] = []
    for token in _TOKEN.finditer(text):
        piece = token.group()
        if piece != "}":
            stack.append((token.end(), len(piece) > 1))
        elif stack:
            start, is_box = stack.pop()
            if is_box and start > best_start:
                content = text[start : token.start()].strip()
                if content:
                    best_start, best = start, content
    return best
