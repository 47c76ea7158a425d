r"""Instructions around a problem: recognised where the data already carries them, added where it does not.

The published prompts read "You are a knowledgeable math assistant. [...] think step by step. <problem> Please output
the final answer within \boxed{}."; other sets ask for the box in other words, or not at all.
"""

from __future__ import annotations

import re

_PREFIX = re.compile(
    r"\s*You are an? [^.\n]{0,80}\bassistant\.\s*(?:(?:Answer|Solve) the following [^.\n]{0,80}\.\s*)?", re.IGNORECASE
)
_OPENING = r"\b(?:Please|Put|Write|Give|Present|Make sure|Remember|Let'?s)\b"
# From the last opening word on: a problem may itself begin with "Write" and end without a full stop.
_BOX_SENTENCE = rf"{_OPENING}(?:(?!{_OPENING})[^.\n]){{0,160}}?\\boxed\s*\{{[^{{}}\n]{{0,40}}\}}"
_LEADING_REQUEST = re.compile(rf"\s*{_BOX_SENTENCE}[^.\n]{{0,60}}\.\s*")
_SUFFIX = re.compile(rf"(?:\(?{_BOX_SENTENCE}[^.\n]{{0,60}}[.)!]{{0,3}})\s*$")


def bare_problem(text: str, instruction: str = "", suffix: str = "") -> str:
    """Returns the problem without the instructions around it.

    Args:
        text: a prompt's text.
        instruction: the study's own instruction, recognised besides the general patterns.
        suffix: the study's own suffix.
    """
    bare = text.strip()
    own_instruction, own_suffix = instruction.strip(), suffix.strip()
    if own_instruction and bare.startswith(own_instruction):
        bare = bare[len(own_instruction) :]
    if match := _PREFIX.match(bare):
        bare = bare[match.end() :]
        bare = _LEADING_REQUEST.sub("", bare, count=1) if _LEADING_REQUEST.match(bare) else bare
    if own_suffix and bare.endswith(own_suffix):
        bare = bare[: -len(own_suffix)]
    return _SUFFIX.sub("", bare).strip()


def carries_instruction(text: str, instruction: str) -> bool:
    """Tells whether a prompt already opens with the instruction, or with one of the known kind."""
    own = instruction.strip()
    return bool(own and text.lstrip().startswith(own)) or _PREFIX.match(text) is not None


def with_instructions(text: str, instruction: str, suffix: str) -> str:
    r"""Puts the instruction before and the suffix after a problem, each only where it is not already there.

    A prompt that mentions `\boxed` anywhere counts as asking for a box.
    """
    out = text
    if instruction and not carries_instruction(text, instruction):
        out = _joined(instruction, out)
    if suffix and "\\boxed" not in text:
        out = _joined(out, suffix)
    return out


def _joined(first: str, second: str) -> str:
    return first + second if first[-1:].isspace() or second[:1].isspace() else f"{first} {second}"
