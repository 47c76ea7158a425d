"""What a grading worker does: reads one piece of work, sends its verdict, until the other side closes.

A worker that ran out of memory answers "wrong" and leaves, so that a torn heap grades nothing else; so does one that
has grown past half its limit, which keeps memory flat over any number of answers.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import socket
import sys

from tasks.grading import mathematics, wire
from tasks.grading.registry import SCORERS
from tasks.grading.verdicts import Verdict, Work

OUT_OF_MEMORY = "out of memory"
_RECURSION = 1_000


def preload() -> None:
    """Imports and warms up what every worker needs, before the first fork."""
    mathematics.slow(Work("math", "\\frac{1}{2}", "\\sqrt{2}+x", None), 60.0)


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
        verdict = _grade(Work(**message["work"]), message["seconds"])
        leaving = verdict.reason == OUT_OF_MEMORY or _resident_bytes() > largest
        connection.sendall(wire.encode({"verdict": dataclasses.asdict(verdict), "leaving": leaving}))
        if leaving:
            return


def _grade(work: Work, seconds: float) -> Verdict:
    """The boundary around third-party code: what a hostile answer makes it raise is a wrong answer."""
    try:
        slow = SCORERS[work.scorer].slow
        assert slow is not None
        return slow(work, seconds)
    except MemoryError:
        return Verdict("wrong", 0.0, work.found, OUT_OF_MEMORY)
    except Exception as error:
        return Verdict("wrong", 0.0, work.found, f"the grader failed with {type(error).__name__}")


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
