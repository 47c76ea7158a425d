"""Grades a program: the last Python block of the completion, followed by the problem's tests, run in the sandbox.

The ground truth is JSON with a key "functional": the text of the tests, which raise when the program is wrong. It
passes only if the tests run to their end; leaving early by any way fails. Always graded in a worker process.
"""

from __future__ import annotations

import json
import re

from tasks.grading.verdicts import DeferredGrade, GradeRequest, Verdict

PROGRAM_TIMED_OUT = "the program timed out"
_MAX_PROGRAM_LENGTH = 100_000
_FENCE = "```"
_LANGUAGES = {"", "python", "python3", "py"}


def grade_fast(request: GradeRequest) -> Verdict | DeferredGrade:
    """Finds the program; running it is left to a worker."""
    tests = _tests(request.ground_truth)
    if tests is None:
        return Verdict("unjudged", 0.0, None, 'the gold answer is not JSON with tests under "functional"')
    program = extract_program(request.completion)
    if program is None:
        return Verdict("wrong", 0.0, None, "no program found")
    if len(program) > _MAX_PROGRAM_LENGTH:
        return Verdict("wrong", 0.0, program[:200], f"the program is longer than {_MAX_PROGRAM_LENGTH} characters")
    return DeferredGrade("code", tests, program, program[:200])


def grade_slow(work: DeferredGrade, seconds: float) -> Verdict:
    """Runs program and tests in the sandbox, at most `seconds` long."""
    from tasks.grading import sandbox

    outcome = sandbox.run_program(f"{work.text}\n\n{work.ground_truth}\n", seconds)
    if outcome.passed:
        return Verdict("right", 1.0, work.extracted, "the tests passed")
    if outcome.reason == sandbox.UNSAFE:
        return Verdict("unjudged", 0.0, work.extracted, sandbox.UNSAFE)
    reason = PROGRAM_TIMED_OUT if outcome.reason == sandbox.TIMED_OUT else outcome.reason
    return Verdict("wrong", 0.0, work.extracted, reason)


def extract_program(completion: str) -> str | None:
    """Returns the last non-empty Python block; without any block, the whole text if it defines something; or None."""
    # By splitting, not by a pattern: a megabyte of fences must cost no more than a megabyte of anything.
    for block in reversed(completion.split(_FENCE)[1::2]):
        language, _, body = block.partition("\n")
        if language.strip().lower() in _LANGUAGES and body.strip():
            return body
    return completion if re.search(r"^[ \t]{0,40}(?:def|class) \w", completion, re.MULTILINE) else None


def _tests(ground_truth: str) -> str | None:
    try:
        record = json.loads(ground_truth)
    except ValueError:
        return None
    tests = record.get("functional") if isinstance(record, dict) else None
    return tests if isinstance(tests, str) and tests.strip() else None
