"""What of a completion is its answer: the text after its thinking."""

from __future__ import annotations

import re

_TAG = re.compile(r"</?think(?:ing)?>")


def after_thinking(completion: str) -> str:
    """Returns what follows the last closing think tag; nothing where thinking was begun and not finished after it."""
    if "<think" not in completion and "</think" not in completion:
        return completion
    tags = list(_TAG.finditer(completion))
    if not tags:
        return completion
    return completion[tags[-1].end() :] if tags[-1].group().startswith("</") else ""
