r"""Grades a mathematical answer: the final one, read whole, decided exactly where possible, otherwise by math-verify.

What it does that `verify(parse(gold), parse(completion))` does not:
- one answer is graded: what the last closed box holds, or without a box the one that the completion states (`boxed`);
- looks are stripped by named rules (`normalize`); what is left must be read whole (`reading`): an answer of which a
  part would be dropped is wrong, and a ground truth of which a part would be dropped judges equal texts only;
- values are compared exactly where both are exact (`comparison`); equations and sets by math-verify;
- plain numbers and identical texts are decided in the calling process;
- answers whose evaluation could not end are refused (`size_limits`), where math-verify exceeds its time limit or hangs;
- its signal-based time limits, which work in the main thread only, are off: the pool kills the process instead.

`number`, for generated arithmetic, reads plain numbers alone, and its form is a box that holds nothing else:
math-verify calls `\boxed{12+34}` equal to 46, so a model could score by copying the sum.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import re
from typing import Any

from tasks.grading.scorers.boxed import all_boxed, final_part, last_boxed, stated_answer
from tasks.grading.scorers.choice import letter_of
from tasks.grading.scorers.dress_values import conflicting_units
from tasks.grading.scorers.exact_match import same_number, same_plain_number, same_text
from tasks.grading.scorers.normalize import normalize
from tasks.grading.scorers.size_limits import too_large, unreadable
from tasks.grading.scorers.unread import as_words, is_words, unread
from tasks.grading.verdicts import DeferredGrade, GradeRequest, Verdict

MAX_ANSWER_LENGTH = 4_000
MAX_UNBOXED_LENGTH = 20_000
_MAX_LIST = 50
_OPTION = re.compile(r"(?:\\(?:text|textbf|mathrm|mathbf)\{\s*)\(\s*([A-Z])\s*\)\s*\}|\(([A-Z])\)")
_LIST = re.compile(r"[^,]+(?:,[^,]+)+")
_SPACE = re.compile(r"(?<![0-9A-Za-z]) | (?![0-9A-Za-z])")  # between two letters or digits a space counts


def grade_fast(request: GradeRequest) -> Verdict | DeferredGrade:
    """Decides an answer in the calling process, or returns the work for math-verify."""
    ground_truth = request.ground_truth.strip()
    completion = final_part(request.completion)
    if completion is None:
        return Verdict("wrong", 0.0, None, "the thinking does not end")
    answer = last_boxed(completion)
    if answer is None:
        return _grade_unboxed(completion, ground_truth)
    if len(answer) > MAX_ANSWER_LENGTH:
        return Verdict("wrong", 0.0, answer[:100], f"the boxed answer is longer than {MAX_ANSWER_LENGTH} characters")
    verdict = _compare(ground_truth, answer)
    if verdict is not None and verdict.correct:
        return verdict
    listed = _listed(completion, ground_truth, answer)
    return _grade_answer(ground_truth, listed) if listed else verdict or _grade_answer(ground_truth, answer)


def _listed(completion: str, ground_truth: str, answer: str) -> str | None:
    """Joins boxes that together list the answer, where the gold answer is a list and the last box holds one element."""
    if "," in answer or not any(mark in ground_truth for mark in (",", "and", "or", "\\pm")):
        return None
    gold = normalize(ground_truth).replace("\\vee", ",").replace("\\pm", ",")
    if gold[:1] in ("(", "[") or (not _LIST.fullmatch(gold) and not gold.startswith(",")):
        return None
    boxes = all_boxed(completion)
    return ", ".join(boxes) if 1 < len(boxes) <= _MAX_LIST and sum(map(len, boxes)) < MAX_ANSWER_LENGTH else None


def _grade_unboxed(completion: str, ground_truth: str) -> Verdict | DeferredGrade:
    """Grades the answer that a completion states without a box: right or wrong, but not in its form."""
    if len(completion) > MAX_UNBOXED_LENGTH:
        return Verdict("wrong", 0.0, None, f"no box, and too long to search ({MAX_UNBOXED_LENGTH} characters)")
    if not completion.strip():
        return Verdict("wrong", 0.0, None, "the completion is empty")
    answer = stated_answer(completion)
    if answer is None:
        return Verdict("wrong", 0.0, None, "no box, and no answer stated")
    return dataclasses.replace(_compare(ground_truth, answer) or _grade_answer(ground_truth, answer), in_form=False)


def _grade_answer(ground_truth: str, answer: str) -> Verdict | DeferredGrade:
    """Decides what can be decided on text, after stripping the dress."""
    option = _OPTION.fullmatch(ground_truth)
    if option:
        right = letter_of(answer) == (option.group(1) or option.group(2))
        return (
            Verdict("right", 1.0, answer, "same letter") if right else Verdict("wrong", 0.0, answer, "no such letter")
        )
    refusal = unreadable(answer)
    if refusal is not None:
        return Verdict("wrong", 0.0, answer[:100], f"refused: {refusal}")
    gold_text, answer_text = normalize(ground_truth), normalize(answer)
    if conflicting_units(ground_truth, answer):
        return Verdict("wrong", 0.0, answer, "another unit")
    if re.search(r"[0-9A-Za-z]", gold_text) and _SPACE.sub("", gold_text) == _SPACE.sub("", answer_text):
        return Verdict("right", 1.0, answer, "same text")
    verdict = _compare(gold_text, answer_text, answer)
    if verdict is not None:
        return verdict
    verdict = _compare_unread(gold_text, answer_text, answer)
    if verdict is not None:
        return verdict
    return DeferredGrade("math", gold_text, answer_text, answer)


def _compare_unread(gold: str, answer: str, extracted: str) -> Verdict | None:
    """Decides where a part of one of two normalized texts would not be read: by its text."""
    gold_rest, answer_rest = unread(gold), unread(answer)
    if gold_rest is None and answer_rest is None:
        return None
    if gold and as_words(gold) == as_words(answer):
        return Verdict("right", 1.0, extracted, "same words")
    if gold_rest is not None and not is_words(gold):
        congruent = same_congruence(gold, answer)
        if congruent is not None:
            return (
                Verdict("right", 1.0, extracted, "same residues")
                if congruent
                else Verdict("wrong", 0.0, extracted, "other residues")
            )
        return Verdict("unjudged", 0.0, extracted, f"the gold answer cannot be read whole: {gold_rest}")
    if gold_rest is not None:
        return Verdict("wrong", 0.0, extracted, "other words")
    return Verdict("wrong", 0.0, extracted, f"the answer cannot be read whole: {answer_rest}")


_CONGRUENCE = re.compile(r"(?:(.{1,40}?)\\equiv\s*)?(-?[0-9]{1,30}(?:\s*,\s*-?[0-9]{1,30})*)\s*\\pmod\{([0-9]{1,30})\}")


def same_congruence(gold: str, answer: str) -> bool | None:
    """Tells whether two congruences name the same residues of one modulus; None where the gold answer is none."""
    one = _CONGRUENCE.fullmatch(gold)
    if one is None or int(one.group(3)) == 0:
        return None
    other = _CONGRUENCE.fullmatch(answer)
    if other is None or int(one.group(3)) != int(other.group(3)):
        return False
    if one.group(1) and other.group(1) and one.group(1).strip() != other.group(1).strip():
        return False
    return _residues(one) == _residues(other)


def _residues(match: re.Match[str]) -> set[int]:
    return {int(residue) % int(match.group(3)) for residue in match.group(2).split(",")}


def grade_number(request: GradeRequest) -> Verdict | DeferredGrade:
    """Grades generated arithmetic: a plain number, in the last box or stated. Never leaves the calling process."""
    completion, ground_truth = final_part(request.completion) or "", request.ground_truth.strip()
    boxed = last_boxed(completion)
    answer = stated_answer(completion) if boxed is None else boxed
    if answer is None:
        return Verdict("wrong", 0.0, None, "no boxed answer")
    same = same_plain_number(ground_truth, answer) if len(answer) <= MAX_ANSWER_LENGTH else None
    if same:
        return Verdict("right", 1.0, answer, "same number", in_form=boxed is not None)
    if (
        same is None
        and len(answer) <= MAX_ANSWER_LENGTH
        and same_number(ground_truth, normalize(answer.rpartition("=")[2]))
    ):
        return Verdict("right", 1.0, answer, "same number without its dress", in_form=False)
    return Verdict("wrong", 0.0, answer[:100], "another number" if same is False else "not a plain number")


def _compare(ground_truth: str, answer: str, extracted: str | None = None) -> Verdict | None:
    """Decides plain numbers and equal texts; None for everything else."""
    extracted = extracted or answer
    same = same_number(ground_truth, answer)
    if same is not None:
        verdict = ("right", 1.0, extracted, "same number") if same else ("wrong", 0.0, extracted, "another number")
        return Verdict(*verdict)  # type: ignore[arg-type]
    return Verdict("right", 1.0, extracted, "same text") if same_text(ground_truth, answer) else None


def grade_slow(work: DeferredGrade, seconds: float) -> Verdict:
    """Reads both texts and compares what they write. Runs in a worker process: may hang, then the pool kills it.

    Args:
        work: normalized ground truth and answer.
        seconds: unused here; the pool enforces the limit.
    """
    from tasks.grading.scorers import comparison, reading, values

    extracted = work.extracted
    is_complex = reading.has_imaginary_unit(work.ground_truth) or reading.has_imaginary_unit(work.text)
    try:
        truth = reading.read(work.ground_truth, is_complex)
    except reading.Unreadable as error:
        return Verdict("unjudged", 0.0, extracted, f"the gold answer cannot be read whole: {error}")
    try:
        answer = reading.read(work.text, is_complex)
    except reading.Unreadable as error:
        return Verdict("wrong", 0.0, extracted, f"the answer cannot be read whole: {error}")
    refusal = too_large(truth) or too_large(answer)
    if refusal is not None:
        return _compare_unevaluated(truth, answer, extracted, refusal)
    digits = values.shortest_decimal(work.ground_truth, work.text)
    if comparison.equal(truth, answer, digits) or any(
        comparison.equal(one, other, digits) for one, other in _percent_forms(work, is_complex)
    ):
        return Verdict("right", 1.0, extracted, "equal")
    return Verdict("wrong", 0.0, extracted, "different by math-verify")


def _percent_forms(work: DeferredGrade, is_complex: bool) -> list[tuple[Any, Any]]:
    """The pairs without the sign where one of two numbers is a percentage: 28% is 28 as well as 0.28."""
    from tasks.grading.scorers import reading

    signs = [text.endswith("\\%") for text in (work.ground_truth, work.text)]
    if signs[0] == signs[1]:
        return []
    try:
        pair = [reading.read(text.removesuffix("\\%").strip(), is_complex) for text in (work.ground_truth, work.text)]
    except reading.Unreadable:
        return []
    return [(pair[0], pair[1])]


def _compare_unevaluated(truth: Any, answer: Any, extracted: str | None, refusal: str) -> Verdict:
    """Compares as written what must not be evaluated."""
    if truth == answer:
        return Verdict("right", 1.0, extracted, "written alike")
    if too_large(truth):
        return Verdict("unjudged", 0.0, extracted, f"the gold answer cannot be evaluated: {refusal}")
    return Verdict("wrong", 0.0, extracted, f"refused: {refusal}")


@functools.cache
def math_verify() -> tuple[Any, Any]:
    """Returns math-verify's parse and verify with its own alarms off (and its warning about that silenced)."""
    import math_verify as library

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return (
        functools.partial(library.parse, parsing_timeout=None),
        functools.partial(library.verify, timeout_seconds=None),
    )
