"""The second grader of an audit that shares no parser with the first; see `tasks.grading.second_opinion`."""

from __future__ import annotations

from tasks.grading.verdicts import DeferredGrade, GradeRequest, Verdict

DATA_SOURCE = "independent-reader"


def grade_fast(request: GradeRequest) -> DeferredGrade:
    """Decides nothing: a reading is made in a worker, under its limits."""
    return DeferredGrade("reader", request.ground_truth.strip(), request.completion, None)


def grade_slow(work: DeferredGrade, seconds: float) -> Verdict:
    """Reads and compares. "unjudged" means that it cannot tell; the reason holds both readings."""
    from tasks.grading.second_opinion.opinion import opinion

    found = opinion(work.text, work.ground_truth)
    readings = f"{found.answer} against {found.gold}"
    if found.same is None:
        return Verdict("unjudged", 0.0, found.answer, readings)
    return (
        Verdict("right", 1.0, found.answer, readings) if found.same else Verdict("wrong", 0.0, found.answer, readings)
    )
