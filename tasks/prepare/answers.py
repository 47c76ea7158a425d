"""Gold answers that cannot score: a perfect answer is graded, and it has to be right."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.grading import Answer, GradingPool
from tasks.records import Problem


def unscorable(problems: Sequence[Problem], pool: GradingPool) -> dict[int, str]:
    r"""Grades `\boxed{gold}` against each mathematical gold.

    Args:
        problems: any problems; those of other abilities (code, grids, choices) are not checked here.
        pool: the grading pool.

    Returns:
        Reason by position, for golds that are unparseable or do not equal themselves.

    Raises:
        InputError: a data source has no scorer.
    """
    places = [place for place, problem in enumerate(problems) if problem.ability == "math"]
    answers = [
        Answer(problems[place].data_source, f"\\boxed{{{problems[place].answer}}}", problems[place].answer)
        for place in places
    ]
    verdicts = pool.grade(answers)
    return {
        place: f"{verdict.status}: {verdict.reason}"
        for place, verdict in zip(places, verdicts, strict=True)
        if not verdict.correct
    }
