"""What of a completion is its answer: the text after its thinking."""

from __future__ import annotations

_OPEN, _CLOSE = "<think>", "</think>"


def after_thinking(completion: str) -> str:
    """Returns what follows the last closing think tag; nothing where thinking was begun and not finished after it."""
    answer = completion.rpartition(_CLOSE)[2]
    return "" if _OPEN in answer else answer
