"""Grades a program: the last Python block of the completion that defines what the tests use, tested in the sandbox.

The ground truth is JSON with a key "functional": the text of the tests, which raise when the program is wrong. The
program passes only if the tests run to their end; leaving early by any way fails. Always graded in a worker process.
What follows the program (an example of its use, its output) is no part of it, nor is what stands in think tags.
"""

from __future__ import annotations

import builtins
import json
import re
import symtable
from dataclasses import dataclass
from functools import lru_cache

from tasks.grading.scorers.boxed import final_part
from tasks.grading.scorers.code_blocks import code_blocks
from tasks.grading.verdicts import DeferredGrade, GradeRequest, Verdict

PROGRAM_TIMED_OUT = "the program timed out"
_MAX_PROGRAM_LENGTH = 100_000
_LANGUAGES = {"", "python", "python3", "py"}


@dataclass(frozen=True)
class Tests:
    """Tests as source text, and the names they take from the program."""

    source: str
    names: tuple[str, ...]


def grade_fast(request: GradeRequest) -> Verdict | DeferredGrade:
    """Finds the program; running it is left to a worker."""
    tests = read_tests(request.ground_truth)
    if tests is None:
        return Verdict("unjudged", 0.0, None, 'the gold answer is not JSON with tests under "functional"')
    program = extract_program(request.completion, tests.names)
    if program is None:
        return Verdict("wrong", 0.0, None, "no program found")
    if len(program) > _MAX_PROGRAM_LENGTH:
        return Verdict("wrong", 0.0, program[:200], f"the program is longer than {_MAX_PROGRAM_LENGTH} characters")
    in_form = bool(_blocks(request.completion))
    return DeferredGrade("code", request.ground_truth, program, program[:200], in_form)


def grade_slow(work: DeferredGrade, seconds: float) -> Verdict:
    """Runs program and tests in the sandbox, at most `seconds` long."""
    from tasks.grading import sandbox

    tests = read_tests(work.ground_truth)
    assert tests is not None, "grade_fast has read these tests"
    outcome = sandbox.run_program(work.text, seconds, tests.source, tests.names)
    if outcome.passed:
        return Verdict("right", 1.0, work.extracted, "the tests passed")
    if not outcome.judged:
        return Verdict("unjudged", 0.0, work.extracted, outcome.reason)
    reason = PROGRAM_TIMED_OUT if outcome.reason == sandbox.TIMED_OUT else outcome.reason
    return Verdict("wrong", 0.0, work.extracted, reason)


def extract_program(completion: str, names: tuple[str, ...] = ()) -> str | None:
    """Returns the last Python block that defines one of the names, else the last non-empty Python block.

    Without any block it is the whole text if it defines something, else None.
    """
    blocks = _blocks(completion)
    if blocks:
        return next((block for block in reversed(blocks) if _defines(block, names)), blocks[-1])
    answer = final_part(completion) or ""
    return answer if re.search(r"^[ \t]{0,40}(?:def|class) \w", answer, re.MULTILINE) else None


def _blocks(completion: str) -> list[str]:
    """Returns the Python blocks after the thinking that are not empty."""
    blocks = code_blocks(final_part(completion) or "")
    return [block.text for block in blocks if block.language in _LANGUAGES and block.text.strip()]


def _defines(program: str, names: tuple[str, ...]) -> bool:
    wanted = "|".join(map(re.escape, names))
    pattern = rf"^(?:(?:async[ \t]+)?(?:def|class)[ \t]+(?:{wanted})\b|(?:{wanted})[ \t]*(?::[^=\n]*)?=(?!=))"
    return bool(names) and re.search(pattern, program, re.MULTILINE) is not None


@lru_cache(maxsize=1024)
def read_tests(ground_truth: str) -> Tests | None:
    """Reads the tests of a ground truth; None where there are none or they are not Python."""
    try:
        record = json.loads(ground_truth)
        source = record.get("functional") if isinstance(record, dict) else None
        if not isinstance(source, str) or not source.strip():
            return None
        return Tests(source, _free_names(symtable.symtable(source, "<tests>", "exec")))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _free_names(module: symtable.SymbolTable) -> tuple[str, ...]:
    """Returns the global names that the tests use and neither define nor find among the built-in ones."""
    used: set[str] = set()
    defined = set(dir(builtins))
    tables = [module]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        for symbol in table.get_symbols():
            if table is not module and not symbol.is_global():
                continue
            if symbol.is_assigned() or symbol.is_imported() or symbol.is_namespace():
                defined.add(symbol.get_name())
            else:
                used.add(symbol.get_name())
    return tuple(sorted(used - defined))
