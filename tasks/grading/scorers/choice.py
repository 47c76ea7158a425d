r"""Grades a multiple-choice answer: one letter, in the last box.

`\boxed{B}`, `\boxed{\text{(b)}}` and `\boxed{B: 0.58g}` answer B; a box with two letters answers nothing. Without a box
the last "answer is (B)" or "Answer: B" counts. Everything is decided in the calling process.
"""

from __future__ import annotations

import re

from tasks.grading.scorers.boxed import last_boxed
from tasks.grading.verdicts import GradeRequest, Verdict

_MAX_UNBOXED_LENGTH = 20_000
_WRAPPING = re.compile(r"\\(?:text|textbf|mathrm|mathbf|mathit|bf|rm)\b|[{}$*\s]|\\[,;! ]")
_LETTER = re.compile(r"\(?([A-Za-z])\)?(?:[.:)].*)?", re.DOTALL)
_STATED = re.compile(r"(?i:answer|option)(?i:\s{1,3}is)?\s{0,3}:?\s{0,3}\*{0,2}\(?([A-Z])\)?(?![A-Za-z])")


def grade_fast(request: GradeRequest) -> Verdict:
    """Decides a multiple-choice answer."""
    ground_truth = request.ground_truth.strip().strip("()").upper()
    if not re.fullmatch(r"[A-Z]", ground_truth):
        return Verdict("unjudged", 0.0, None, "the gold answer is not one letter")
    letter = chosen_letter(request.completion)
    if letter is None:
        return Verdict("wrong", 0.0, None, "no letter found")
    if letter == ground_truth:
        return Verdict("right", 1.0, letter, "same letter")
    return Verdict("wrong", 0.0, letter, "another letter")


def chosen_letter(completion: str) -> str | None:
    """Returns the letter a completion settles on, upper case, or None."""
    boxed = last_boxed(completion)
    if boxed is not None:
        match = _LETTER.fullmatch(_WRAPPING.sub("", boxed[:1000]))
        return match.group(1).upper() if match else None
    stated = _STATED.findall(completion[-_MAX_UNBOXED_LENGTH:])
    return stated[-1] if stated else None
