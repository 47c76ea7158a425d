r"""Gold answers that cannot be graded.

A gold is sound when its perfect answer `\boxed{gold}` is right and when a wrong answer is found wrong, not unjudged:
a gold that the grader can only compare as text (`27\%`, `\frac{1}{`) would fail every answer written otherwise.

The second test needs the grader's slow half for most LaTeX golds. Golds that visibly are expressions (numbers, letters,
fractions, roots, powers, signs, lists) are spared it; on the published files the two agree wherever both were asked.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.grading import GradeRequest, GradingPool
from tasks.records.problems import Problem

# No data set has this as its answer: a gold that calls it right is as bad as one that cannot tell.
WRONG_ANSWER = "987654321987654319"
# Operands become 0, fractions and roots single signs, what binds two operands a plus; then operands are merged.
_STEPS = (
    (re.compile(r"\\left|\\right|\\[,;!: ]|\s+|\^\{?\\circ\}?|!|\$"), ""),
    (re.compile(r"\\(?:d|t)?frac"), "§"),
    (re.compile(r"§(\d)(\d)"), r"§{\1}{\2}"),
    (re.compile(r"\\sqrt"), "¤"),
    (re.compile(r"\\(?:ln|log|sin|cos|tan)(?![A-Za-z])"), ""),
    (re.compile(r"\\(?:cdot|times|pm|mp|cup|leq?|geq?|neq)(?![A-Za-z])|[-*/=,<>]"), "+"),
    (re.compile(r"\d*\.?\d+|\\(?:pi|infty|theta|alpha|beta)(?![A-Za-z])|(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])"), "0"),
)
_REDUCTIONS = re.compile(
    r"§(?:\{0\}|0){2}|¤(?:\[0\])?(?:\{0\}|0)|0[\^_](?:\{0\}|0)|[(\[]0[)\]]|\{0\}(?=$)|00|0\+0|(?<![0)\]}])\+0"
)
_LONGEST = 200


def ungradable_answers(problems: Sequence[Problem], pool: GradingPool) -> dict[int, str]:
    """Grades a perfect and a wrong answer to each mathematical problem.

    Args:
        problems: any problems; those of other abilities (code, grids, choices) are not checked here.
        pool: the grading pool.

    Returns:
        Reason by position, for golds that cannot be graded.

    Raises:
        InputError: a data source has no scorer.
    """
    places = [place for place, problem in enumerate(problems) if problem.ability == "math"]
    reasons = {}
    perfect = pool.grade([_answer(problems[place], problems[place].answer) for place in places])
    for place, verdict in zip(places, perfect, strict=True):
        if not verdict.correct:
            reasons[place] = f"its own perfect answer is {verdict.status}: {verdict.reason}"
    doubtful = [place for place in places if place not in reasons and not is_simple_expression(problems[place].answer)]
    wrong = pool.grade([_answer(problems[place], WRONG_ANSWER) for place in doubtful])
    for place, verdict in zip(doubtful, wrong, strict=True):
        if verdict.status != "wrong":
            reasons[place] = f"a wrong answer is {verdict.status}: {verdict.reason}"
    return reasons


def is_simple_expression(gold: str) -> bool:
    """Tells whether a gold is an expression by a small grammar: it reduces, piece by piece, to one operand."""
    if len(gold) > _LONGEST:
        return False
    text = gold
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    before = ""
    while text != before:
        before, text = text, _REDUCTIONS.sub("0", text)
    return text == "0"


def _answer(problem: Problem, text: str) -> GradeRequest:
    return GradeRequest(problem.data_source, f"\\boxed{{{text}}}", problem.answer)
