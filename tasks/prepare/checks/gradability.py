r"""Ground truths that cannot be graded.

A ground truth can be graded when its perfect answer `\boxed{ground truth}` is right and a wrong answer is wrong, not
unjudged: one that the grader can only compare as text (`27\%`, `\frac{1}{`) would fail every answer written otherwise.

The second test needs a grading worker for most LaTeX. Ground truths that visibly are expressions (numbers, letters,
fractions, roots, powers, signs, lists) skip it; on the published files both methods agree wherever both were tried.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from tasks.grading import GradeRequest, GradingPool
from tasks.records.problems import Problem

# No data set has this as its answer: a ground truth that it equals is as bad as one that cannot tell.
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
_MAX_LENGTH = 200


def ungradable_answers(problems: Sequence[Problem], pool: GradingPool) -> dict[int, str]:
    """Grades a perfect and a wrong answer to each mathematical problem.

    Args:
        problems: any problems; those of other abilities (code, grids, choices) are not checked here.
        pool: the grading pool.

    Returns:
        Reason by index, for ground truths that cannot be graded.

    Raises:
        InputError: a data source has no scorer.
    """
    checked = [index for index, problem in enumerate(problems) if problem.ability == "math"]
    reasons = {}
    perfect = pool.grade([_boxed(problems[index], problems[index].answer) for index in checked])
    for index, verdict in zip(checked, perfect, strict=True):
        if not verdict.correct:
            reasons[index] = f"its own perfect answer is {verdict.status}: {verdict.reason}"
    unsure = [index for index in checked if index not in reasons and not is_simple_expression(problems[index].answer)]
    wrong = pool.grade([_boxed(problems[index], WRONG_ANSWER) for index in unsure])
    for index, verdict in zip(unsure, wrong, strict=True):
        if verdict.status != "wrong":
            reasons[index] = f"a wrong answer is {verdict.status}: {verdict.reason}"
    return reasons


def is_simple_expression(text: str) -> bool:
    """Tells whether a text is an expression by a small grammar: it reduces, piece by piece, to one operand."""
    if len(text) > _MAX_LENGTH:
        return False
    for pattern, replacement in _STEPS:
        text = pattern.sub(replacement, text)
    before = ""
    while text != before:
        before, text = text, _REDUCTIONS.sub("0", text)
    return text == "0"


def _boxed(problem: Problem, text: str) -> GradeRequest:
    return GradeRequest(problem.data_source, f"\\boxed{{{text}}}", problem.answer)
