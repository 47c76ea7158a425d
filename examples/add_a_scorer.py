r"""Adds a scorer for yes/no questions and grades some completions with it, as training and evaluation would.

    python examples/add_a_scorer.py

In the program `grade_yes_no` is a module of `tasks/grading/`, `SCORERS` and `DATA_SOURCES` of its registry each get a
line, and `GRADER_VERSION` goes up only where verdicts of earlier problem sets change. Here both are added at run time,
which reaches this process alone.
"""

from __future__ import annotations

import re

from tasks.grading import GradeRequest, GradingPool, Verdict, registry
from tasks.grading.scorers.boxed import last_boxed

_LONGEST = 20_000
_WORD = re.compile(r"\b(yes|no)\b", re.IGNORECASE)


def grade_yes_no(answer: GradeRequest) -> Verdict:
    r"""The last box decides, `\boxed{yes}`; without one the last yes or no of the text. Linear in the text's length."""
    truth = answer.ground_truth.strip().lower()
    if truth not in ("yes", "no"):
        return Verdict("unjudged", 0.0, None, "the ground truth is neither yes nor no")
    boxed = last_boxed(answer.completion)
    said = _WORD.findall((answer.completion if boxed is None else boxed)[-_LONGEST:])
    if not said:
        return Verdict("wrong", 0.0, None, "neither yes nor no found")
    chosen = said[-1].lower()
    return Verdict("right" if chosen == truth else "wrong", float(chosen == truth), chosen, "the last word counts")


SCORER = registry.Scorer("yes_no", grade_yes_no)

ANSWERS = (
    GradeRequest("boolq", "It is prime, so \\boxed{Yes}.", "yes"),
    GradeRequest("boolq", "No. On second thought: yes", "no"),
    GradeRequest("boolq", "I cannot tell.", "no"),
    GradeRequest("boolq", "\\boxed{no}", "maybe"),
    GradeRequest("boolq", "no " * 1_000_000 + "\\boxed{", "yes"),
)


def main() -> None:
    """Registers the scorer and grades through the pool that rewards go through."""
    registry.SCORERS[SCORER.name] = SCORER
    registry.DATA_SOURCES = (*registry.DATA_SOURCES, ("boolq.*", SCORER.name))
    with GradingPool() as pool:
        for answer, verdict in zip(ANSWERS, pool.grade(ANSWERS), strict=True):
            text = answer.completion if len(answer.completion) < 40 else f"{len(answer.completion)} characters"
            print(f"{verdict.status:9} {verdict.strict:.0f}  {verdict.extracted or '-':4} {text!r}: {verdict.reason}")


if __name__ == "__main__":
    main()
