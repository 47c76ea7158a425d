r"""Doubled backslashes: `\\frac{1}{2}` in the published ground truths, `\\( ... \\)` in some prompts.

A doubled backslash is also LaTeX's line break, so a text is repaired only where it cannot be one:
- every run of backslashes in the text has even length and one stands before a letter or a brace: the whole text was
  escaped once too often, every run is halved (a matrix with single-backslash commands has odd runs and stays);
- `\\( ... \\)` and `\\[ ... \\]` in pairs with no alignment or environment inside are delimiters.
"""

from __future__ import annotations

import re

_RUN = re.compile(r"\\+")
_COMMAND = re.compile(r"\\\\[A-Za-z{}]")
_ROUND = re.compile(r"(?<!\\)\\\\\(([^&]{0,500}?)(?<!\\)\\\\\)", re.DOTALL)
_SQUARE = re.compile(r"(?<!\\)\\\\\[([^&]{0,500}?)(?<!\\)\\\\\]", re.DOTALL)


def repair_backslashes(text: str) -> str:
    """Returns the text with doubled backslashes undone; unchanged where there are none."""
    if "\\\\" not in text:
        return text
    if _COMMAND.search(text) and all(len(run) % 2 == 0 for run in _RUN.findall(text)):
        return _RUN.sub(lambda match: match[0][: len(match[0]) // 2], text)
    text = _ROUND.sub(lambda match: _delimited(match, "(", ")"), text)
    return _SQUARE.sub(lambda match: _delimited(match, "[", "]"), text)


def _delimited(match: re.Match[str], opening: str, closing: str) -> str:
    inner = match[1]
    if "\\begin" in inner or "\\end" in inner or "\\\\" in inner:
        return match[0]
    return f"\\{opening}{inner}\\{closing}"
