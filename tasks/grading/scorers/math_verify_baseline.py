r"""The reference grader of an audit: math-verify alone, on the whole completion.

`verify(parse("\boxed{gold}"), parse(completion))` with its defaults, except that its alarms are off and the pool keeps
the time limit. The ground truth is boxed because its README wants it inside a LaTeX environment.
"""

from __future__ import annotations

from tasks.grading.scorers.math import math_verify
from tasks.grading.verdicts import DeferredGrade, GradeRequest, Verdict

DATA_SOURCE = "plain-math-verify"


def grade_fast(request: GradeRequest) -> DeferredGrade:
    """Decides nothing: everything goes to math-verify."""
    return DeferredGrade("plain", request.ground_truth.strip(), request.completion, None)


def grade_slow(work: DeferredGrade, seconds: float) -> Verdict:
    """Asks math-verify about the whole completion. Runs in a worker process."""
    parse, verify = math_verify()
    if verify(parse(f"\\boxed{{{work.ground_truth}}}"), parse(work.text)):
        return Verdict("right", 1.0, None, "equal by math-verify")
    return Verdict("wrong", 0.0, None, "different by math-verify")
