r"""Grades a mathematical answer: the last boxed one, decided exactly where possible, otherwise by math-verify.

What it does that `verify(parse(gold), parse(completion))` does not:
- the gold answer is put into a box before parsing: math-verify's own README asks for golds inside a LaTeX environment,
  and golds in data files are bare (`\sqrt{193}` parses to nothing, `-\frac14 + \frac{\sqrt3}{2}` to its first term);
- only the last closed box of the completion counts, whatever else it says ("final answer is $7$", earlier boxes);
- plain numbers, identical texts and clearly different values are decided in the calling process, only where that
  provably agrees (`numerals`, `texts` and `evaluator` say why);
- answers whose evaluation could not end are refused (`bounds`), where math-verify runs into its time limit or hangs;
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
from tasks.grading.scorers.numeric_check import clearly_different
from tasks.grading.scorers.size_limits import too_large, unreadable
from tasks.grading.verdicts import DeferredGrade, GradeRequest, Verdict

LONGEST_ANSWER = 4_000
LONGEST_UNBOXED = 20_000
_BARE_INTEGER = re.compile(r"\s*-?[0-9]{1,300}\s*", re.ASCII)


def grade_fast(answer: GradeRequest) -> Verdict | DeferredGrade:
    """Decides an answer in the calling process, or returns the work for math-verify."""
    gold = answer.ground_truth.strip()
    found = last_boxed(answer.completion)
    if found is None:
        return _grade_unboxed(answer.completion, gold)
    if len(found) > LONGEST_ANSWER:
        return Verdict("wrong", 0.0, found[:100], f"the boxed answer is longer than {LONGEST_ANSWER} characters")
    verdict = _compare(gold, found)
    if verdict is not None:
        return verdict
    refusal = unreadable(found)
    if refusal is not None:
        return Verdict("wrong", 0.0, found[:100], f"refused: {refusal}")
    return DeferredGrade("math", gold, found, found)


def _grade_unboxed(completion: str, gold: str) -> Verdict | DeferredGrade:
    if len(completion) > LONGEST_UNBOXED:
        return Verdict("wrong", 0.0, None, f"no box, and too long to search ({LONGEST_UNBOXED} characters)")
    if not completion.strip():
        return Verdict("wrong", 0.0, None, "the completion is empty")
    if _BARE_INTEGER.fullmatch(completion):
        verdict = _compare(gold, completion.strip())
        if verdict is not None:
            return verdict
    refusal = unreadable(completion)
    if refusal is not None:
        return Verdict("wrong", 0.0, None, f"refused: no box, and {refusal}")
    return DeferredGrade("math", gold, completion, None, boxed=False)


def grade_number(answer: GradeRequest) -> Verdict | DeferredGrade:
    """Grades generated arithmetic: the last box must hold a plain number. Never leaves the calling process."""
    found = last_boxed(answer.completion)
    if found is None:
        return Verdict("wrong", 0.0, None, "no boxed answer")
    verdict = same_plain_number(answer.ground_truth.strip(), found) if len(found) <= LONGEST_ANSWER else None
    if verdict:
        return Verdict("right", 1.0, found, "same number")
    return Verdict("wrong", 0.0, found[:100], "another number" if verdict is False else "not a plain number")


def _compare(gold: str, found: str) -> Verdict | None:
    """What is decided here: plain numbers, equal texts, clearly different values."""
    same = same_number(gold, found)
    if same is not None:
        return Verdict("right", 1.0, found, "same number") if same else Verdict("wrong", 0.0, found, "another number")
    if same_text(gold, found):
        return Verdict("right", 1.0, found, "same text")
    if clearly_different(gold, found):
        return Verdict("wrong", 0.0, found, "another value")
    return None


def grade_slow(work: DeferredGrade, seconds: float) -> Verdict:
    """Asks math-verify. Runs in a worker process: may hang, and then is killed by the pool.

    Args:
        work: gold and extracted answer (or the whole completion when there was no box).
        seconds: unused here; the limit is kept from outside.
    """
    parse, verify = math_verify()
    gold = list(_parsed_gold(work.ground_truth))
    if not gold:
        return Verdict("unjudged", 0.0, work.extracted, "the gold answer does not parse")
    answer = parse(f"\\boxed{{{work.text}}}" if work.boxed else work.text)
    found = work.extracted
    if found is None and answer and isinstance(answer[-1], str):
        found = answer[-1][:200]
    if not answer:
        return Verdict("wrong", 0.0, found, "no answer found" if not work.boxed else "the answer does not parse")
    refusal = next(filter(None, map(too_large, filter(_is_tree, (*gold, *answer)))), None)
    if refusal is not None:
        return _unevaluated(gold, answer, found, refusal)
    if verify(gold, answer):
        return Verdict("right", 1.0, found, "equal by math-verify")
    if all(isinstance(form, str) for form in gold):
        return Verdict("unjudged", 0.0, found, "the gold answer parses to no expression and the texts differ")
    return Verdict("wrong", 0.0, found, "different by math-verify")


def _is_tree(form: object) -> bool:
    return not isinstance(form, str)


def _unevaluated(gold: list[Any], answer: list[Any], found: str | None, refusal: str) -> Verdict:
    """Compares as written what must not be evaluated."""
    if any(one == other for one in gold for other in answer):
        return Verdict("right", 1.0, found, "written alike")
    if any(too_large(form) for form in gold if _is_tree(form)):
        return Verdict("unjudged", 0.0, found, f"the gold answer cannot be evaluated: {refusal}")
    return Verdict("wrong", 0.0, found, f"refused: {refusal}")


@functools.lru_cache(maxsize=256)
def _parsed_gold(gold: str) -> tuple[Any, ...]:
    parse, _ = math_verify()
    return tuple(parse(f"\\boxed{{{gold}}}"))


@functools.cache
def math_verify() -> tuple[Any, Any]:
    """Returns math-verify's parse and verify with its own alarms off (and its warning about that silenced)."""
    import math_verify as library

    logging.getLogger("math_verify").setLevel(logging.ERROR)
    return (
        functools.partial(library.parse, parsing_timeout=None),
        functools.partial(library.verify, timeout_seconds=None),
    )
