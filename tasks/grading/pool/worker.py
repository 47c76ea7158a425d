"""What a grading worker does: reads one piece of work, sends its verdict, until the other side closes.

A worker that ran out of memory answers "wrong" and leaves, so that a corrupted heap grades nothing else; so does one
that has grown past half its limit, which keeps memory flat over any number of answers.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import socket
import sys

from tasks.grading.pool import framing as wire
from tasks.grading.registry import SCORERS
from tasks.grading.scorers import math as mathematics
from tasks.grading.verdicts import DeferredGrade, Verdict

OUT_OF_MEMORY = "out of memory"
_RECURSION = 1_000


# math-verify's parser and sympy cache as they go: a first answer of each form takes 10 to 50 times longer. These pairs
# are parsed once, before the workers are forked, so that those start warm.
_WARMUP_PAIRS = (
    ("\\frac{1}{2}", "\\sqrt{2}+x"),
    ("2\\sqrt{3}-\\frac{\\sqrt{5}}{2}", "\\frac{7\\pi}{4}+1"),
    ("2n^2 - n + 1", "(x+1)(x-2)"),
    ("(-\\infty, 2] \\cup (3, \\infty)", "\\left[-1, \\frac{1}{2}\\right)"),
    ("\\{1, 2, 3\\}", "1, 2, \\text{ and } 4"),
    ("\\left( 3, \\frac{\\pi}{2} \\right)", "(1, -2, 5)"),
    ("x = 3", "y = 2x + 1"),
    ("x \\le -2", "1 < x < 5"),
    ("\\text{Evelyn}", "\\text{Jane}"),
    ("\\sin 30^\\circ", "\\log_2 8"),
    ("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 3 \\end{pmatrix}"),
    ("3 + 4i", "\\left(27\\right)"),
    ("\\sqrt[3]{2}", "2^{10}"),
)


def preload() -> None:
    """Imports and warms up what every worker needs, before the first fork."""
    for gold, text in _WARMUP_PAIRS:
        mathematics.grade_slow(DeferredGrade("math", gold, text, None), 60.0)


def serve(connection: socket.socket) -> None:
    """Grades until the connection closes or memory says to leave."""
    os.setpgid(0, 0)
    sys.setrecursionlimit(_RECURSION)
    largest = resource.getrlimit(resource.RLIMIT_AS)[0] // 2
    while True:
        try:
            message = wire.receive(connection)
        except EOFError:
            return
        verdict = _grade(DeferredGrade(**message["work"]), message["seconds"])
        leaving = verdict.reason == OUT_OF_MEMORY or _resident_bytes() > largest
        connection.sendall(wire.encode({"verdict": dataclasses.asdict(verdict), "leaving": leaving}))
        if leaving:
            return


def _grade(work: DeferredGrade, seconds: float) -> Verdict:
    """The boundary around third-party code: what a hostile answer makes it raise is a wrong answer."""
    try:
        slow = SCORERS[work.scorer].grade_slow
        assert slow is not None
        return slow(work, seconds)
    except MemoryError:
        return Verdict("wrong", 0.0, work.extracted, OUT_OF_MEMORY)
    except Exception as error:
        return Verdict("wrong", 0.0, work.extracted, f"the grader failed with {type(error).__name__}")


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
