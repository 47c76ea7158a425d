"""Verdicts on answers: one registry by data source, the same code for rewards and for evaluation.

    with GradingPool(workers=2) as pool:
        verdicts = pool.grade([GradeRequest("math__math", completion, ground_truth), ...])

A verdict is right, wrong or unjudged (the ground truth cannot be read). A GRPO reward is `Verdict.strict`; see
`tasks.grading.verdicts` for the two scores.
Importing this package loads neither math-verify nor sympy.
"""

from __future__ import annotations

from tasks.grading.pool.pool import GradingPool
from tasks.grading.registry import Scorer, scorer_for
from tasks.grading.verdicts import DeferredGrade, GradeRequest, GradeStats, Verdict, ground_truth_text

__all__ = [
    "DeferredGrade",
    "GradeRequest",
    "GradeStats",
    "GradingPool",
    "Scorer",
    "Verdict",
    "ground_truth_text",
    "scorer_for",
]
