r"""Grades a mathematical answer: the last boxed one, decided exactly where possible, otherwise by math-verify.

What it does that `verify(parse(gold), parse(completion))` does not:
- the ground truth is put into a box before parsing: math-verify's own README asks for a LaTeX environment around it,
  and in data files it is bare (`\sqrt{193}` parses to nothing, `-\frac14 + \frac{\sqrt3}{2}` to its first term);
- only the last closed box of the completion counts, whatever else it says ("final answer is $7$", earlier boxes);
- plain numbers and identical texts are decided in the calling process, only where that provably agrees (`exact_match`
  says why);
- answers whose evaluation could not end are refused (`size_limits`), where math-verify exceeds its time limit or hangs;
- its signal-based time limits, which work in the main thread only, are off: the pool kills the process instead.
A completion without any box is parsed whole, as math-verify does, unless it is too long to be searched.

`number`, for generated arithmetic, is stricter: the box must hold a plain number. math-verify calls `\boxed{12+34}`
equal to 46, so a model could score by copying the sum.
"""

from __future__ import annotations

import functools
import logging
import re
from typing import Any

from tasks.grading.scorers.boxed import last_boxed
from tasks.grading.scorers.exact_match import same_number, same_plain_number, same_text
from tasks.grading.scorers.size_limits import too_large, unreadable
from tasks.grading.verdicts import DeferredGrade, GradeRequest, Verdict

MAX_ANSWER_LENGTH = 4_000
MAX_UNBOXED_LENGTH = 20_000
_BARE_INTEGER = re.compile(r"\s*-?[0-9]{1,300}\s*", re.ASCII)


def grade_fast(request: GradeRequest) -> Verdict | DeferredGrade:
    """Decides an answer in the calling process, or returns the work for math-verify."""
    ground_truth = request.ground_truth.strip()
    answer = last_boxed(request.completion)
    if answer is None:
        return _grade_unboxed(request.completion, ground_truth)
    if len(answer) > MAX_ANSWER_LENGTH:
        return Verdict("wrong", 0.0, answer[:100], f"the boxed answer is longer than {MAX_ANSWER_LENGTH} characters")
    verdict = _compare(ground_truth, answer)
    if verdict is not None:
        return verdict
    refusal = unreadable(answer)
    if refusal is not None:
        return Verdict("wrong", 0.0, answer[:100], f"refused: {refusal}")
    return DeferredGrade("math", ground_truth, answer, answer)


def _grade_unboxed(completion: str, ground_truth: str) -> Verdict | DeferredGrade:
    if len(completion) > MAX_UNBOXED_LENGTH:
        return Verdict("wrong", 0.0, None, f"no box, and too long to search ({MAX_UNBOXED_LENGTH} characters)")
    if not completion.strip():
        return Verdict("wrong", 0.0, None, "the completion is empty")
    if _BARE_INTEGER.fullmatch(completion):
        verdict = _compare(ground_truth, completion.strip())
        if verdict is not None:
            return verdict
    refusal = unreadable(completion)
    if refusal is not None:
        return Verdict("wrong", 0.0, None, f"refused: no box, and {refusal}")
    return DeferredGrade("math", ground_truth, completion, None, boxed=False)


def grade_number(request: GradeRequest) -> Verdict | DeferredGrade:
    """Grades generated arithmetic: the last box must hold a plain number. Never leaves the calling process."""
    answer = last_boxed(request.completion)
    if answer is None:
        return Verdict("wrong", 0.0, None, "no boxed answer")
    same = same_plain_number(request.ground_truth.strip(), answer) if len(answer) <= MAX_ANSWER_LENGTH else None
    if same:
        return Verdict("right", 1.0, answer, "same number")
    return Verdict("wrong", 0.0, answer[:100], "another number" if same is False else "not a plain number")


def _compare(ground_truth: str, answer: str) -> Verdict | None:
    """Decides plain numbers and equal texts; None for everything else."""
    same = same_number(ground_truth, answer)
    if same is not None:
        return Verdict("right", 1.0, answer, "same number") if same else Verdict("wrong", 0.0, answer, "another number")
    return Verdict("right", 1.0, answer, "same text") if same_text(ground_truth, answer) else None


def grade_slow(work: DeferredGrade, seconds: float) -> Verdict:
    """Asks math-verify. Runs in a worker process: may hang, and then is killed by the pool.

    Args:
        work: ground truth and extracted answer (or the whole completion when there was no box).
        seconds: unused here; the pool enforces the limit.
    """
    parse, verify = math_verify()
    truth_forms = list(_parse_ground_truth(work.ground_truth))
    if not truth_forms:
        return Verdict("unjudged", 0.0, work.extracted, "the gold answer does not parse")
    answer_forms = parse(f"\\boxed{{{work.text}}}" if work.boxed else work.text)
    extracted = work.extracted
    if extracted is None and answer_forms and isinstance(answer_forms[-1], str):
        extracted = answer_forms[-1][:200]
    if not answer_forms:
        return Verdict("wrong", 0.0, extracted, "no answer found" if not work.boxed else "the answer does not parse")
    refusal = next(filter(None, map(too_large, filter(_is_tree, (*truth_forms, *answer_forms)))), None)
    if refusal is not None:
        return _compare_unevaluated(truth_forms, answer_forms, extracted, refusal)
    if verify(truth_forms, answer_forms):
        return Verdict("right", 1.0, extracted, "equal by math-verify")
    if not any(map(_is_tree, truth_forms)):
        return Verdict("unjudged", 0.0, extracted, "the gold answer parses to no expression and the texts differ")
    return Verdict("wrong", 0.0, extracted, "different by math-verify")


def _is_tree(form: object) -> bool:
    return not isinstance(form, str)


def _compare_unevaluated(
    truth_forms: list[Any], answer_forms: list[Any], extracted: str | None, refusal: str
) -> Verdict:
    """Compares as written what must not be evaluated."""
    if any(one == other for one in truth_forms for other in answer_forms):
        return Verdict("right", 1.0, extracted, "written alike")
    if any(too_large(form) for form in truth_forms if _is_tree(form)):
        return Verdict("unjudged", 0.0, extracted, f"the gold answer cannot be evaluated: {refusal}")
    return Verdict("wrong", 0.0, extracted, f"refused: {refusal}")


@functools.lru_cache(maxsize=256)
def _parse_ground_truth(ground_truth: str) -> tuple[Any, ...]:
    parse, _ = math_verify()
    return tuple(parse(f"\\boxed{{{ground_truth}}}"))


@functools.cache
def math_verify() -> tuple[Any, Any]:
    """Returns math-verify's parse and verify with its own alarms off (and its warning about that silenced)."""
    import math_verify as library

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return (
        functools.partial(library.parse, parsing_timeout=None),
        functools.partial(library.verify, timeout_seconds=None),
    )
