r"""Grades a multiple-choice answer: one letter, in the last box.

`\boxed{B}`, `\boxed{\text{(b)}}`, `\boxed{B: 0.58g}`, `\boxed{B 0.58g}` and `\boxed{\text{Option B}}` answer B; a box
with two letters, or with words that begin with a letter, answers nothing. Without a box the last "answer is (B)",
"Answer: B" or "故选 B" counts, without one an "option B" that stands alone. Everything is decided in the
calling process.
"""

from __future__ import annotations

import re

from tasks.grading.scorers.boxed import final_part, last_boxed
from tasks.grading.verdicts import GradeRequest, Verdict

_MAX_UNBOXED_LENGTH = 20_000
_COMMAND = re.compile(
    r"\\(?:text(?:bf|rm|it|sf|tt|normal)?|math(?:bf|rm|it|sf|tt|cal|bb|normal)?|boldsymbol|bm|bf|rm|mbox|operatorname|left|right|displaystyle)"
    r"(?![A-Za-z])|[{}$*]|\\[,;! ]"
)
_LABEL = re.compile(
    r"^\s*(?:the\s+)?(?:(?:final|correct)\s+)?(?:answer|option|choice|选项|答案)\s*(?:is|为|是)?\s*[:：]?\s*(?:(?:option|choice)\s*)?",
    re.IGNORECASE,
)
_LETTER = re.compile(r"[(\[]?\s*([A-Za-z])\s*[)\]]?\s*(?:[.:)：].*)?", re.DOTALL)
_WITH_TEXT = re.compile(r"\(?([A-Z])\)?\s+(?=[^A-Za-z]|[A-Za-z]{2})(.*)", re.DOTALL)
_SECOND = re.compile(
    r"^\s*(?:or|and|,|/|&|;|\bnor\b)\s*\(?[A-Za-z]\)?(?![A-Za-z])|(?:,|;|/|\bor|\band)\s*\(?[A-Z]\)?\s*(?:$|[,;)/]|or\b|and\b)"
)
_ARITHMETIC = re.compile(r"\s*[)\]]?\s*(?:[+*/^=<>]|-\s)")
_STATED = re.compile(
    r"(?:(?i:answer|(?:correct|right|best|final)\s{1,3}(?:option|choice|one))(?i:\s{1,3}(?:is|should\s{1,3}be))?|答案(?:是|为)?|故选|选择?)\s{0,3}\*{0,2}\s{0,3}[:：]?\s{0,3}\*{0,2}\s{0,3}[:：]?\s{0,3}"
    r"(?:(?i:option|choice)\s{1,3})?(?:\$?\\(?:text|mathrm|textbf|mathbf)\{)?[(\[]?([A-Z])[)\]]?(?![A-Za-z'’])(?!\s{0,3}(?:,|or|and|/)\s{0,3}\(?[A-Z]\)?(?![A-Za-z]))"
)

_MENTIONED = re.compile(
    r"(?i:option|choice|choose|pick|select)\s{1,3}\*{0,2}[(\[]?([A-Z])[)\]]?(?![A-Za-z'’])(?!\s{0,3}(?:is|are)\s{1,3}(?i:not|wrong|incorrect|false))"
)


def grade_fast(request: GradeRequest) -> Verdict:
    """Decides a multiple-choice answer."""
    ground_truth = request.ground_truth.strip().strip("()").upper()
    if not re.fullmatch(r"[A-Z]", ground_truth):
        return Verdict("unjudged", 0.0, None, "the gold answer is not one letter")
    completion = final_part(request.completion) or ""
    boxed = last_boxed(completion)
    letter = stated_letter(completion) if boxed is None else letter_of(boxed[:1000])
    if letter is None:
        return Verdict("wrong", 0.0, None, "no letter found")
    if letter == ground_truth:
        return Verdict("right", 1.0, letter, "same letter", in_form=boxed is not None)
    return Verdict("wrong", 0.0, letter, "another letter")


def stated_letter(completion: str) -> str | None:
    """Returns the letter a completion without a box settles on, upper case, or None."""
    completion = completion[-_MAX_UNBOXED_LENGTH:]
    alone = re.fullmatch(r"\s*\**\(?([A-Z])\)?[.)]?\**\s*", completion)
    stated = [alone.group(1)] if alone else _STATED.findall(completion)
    if stated:
        return stated[-1]
    mentioned = set(_MENTIONED.findall(completion))
    return mentioned.pop() if len(mentioned) == 1 else None


def letter_of(text: str) -> str | None:
    """Returns the letter that the content of a box chooses, upper case, or None."""
    text = _LABEL.sub("", _COMMAND.sub("", text).strip()).strip()
    match = _LETTER.fullmatch(text)
    if match:
        rest = text[match.end(1) :]
        if _ARITHMETIC.match(rest):
            return None
        rest = rest.lstrip(")] .:：")
        return None if _SECOND.search(rest) or re.fullmatch(r"[A-Z]", rest.strip()) else match.group(1).upper()
    match = _WITH_TEXT.fullmatch(text)
    if match is None or _SECOND.search(match.group(2)) or re.match(r"(?:or|and|is|not|nor|but)\b", match.group(2)):
        return None
    # "A is wrong", "I think": a sentence, not an option with its text.
    return match.group(1) if re.match(r"[^A-Za-z]", match.group(2)) or text[0] == "(" else None
