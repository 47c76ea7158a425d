"""The sandboxed interpreter of the tests: runs them against a program that lives in another process.

Started by `sandbox.run_program` as `python -I -S judge.py REQUESTS REPLIES RESULT MEMORY_MB CPU_SECONDS PARENT_PID`
(the first three are descriptors). Reads {"program", "tests", "names"} from stdin, hands the program over (`child.py`
describes the lines they exchange), and runs the tests with a stand-in for each of the names: calling one calls the
program's function, and what it returns is made anew here from built-in types. Writes to RESULT, as JSON, [verdict,
reason]: "passed", "failed", "ended" (the program's process has) or "unjudged".

The program cannot reach this process: no memory, frame, file or object is shared, only the two pipes.
"""

from __future__ import annotations

import builtins
import contextlib
import ctypes
import json
import os
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, NoReturn

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import confinement
from plain_values import OPAQUE, Opaque, decode, encode

sys.path.pop(0)

UNSAFE = "no sandbox on this machine"
UNTESTABLE = "the tests pass a value that cannot be given to a program"
UNREADABLE = "the program returned something that cannot be read"
_MAX_REASON_LENGTH = 200
_MAX_REPLY_BYTES = 64 << 20
_SET_DUMPABLE = 4


class EndOfTests(BaseException):
    """The program can pass no more."""


class Program:
    """The judge's side of the two pipes.

    Attributes:
        end_of_tests: verdict and reason, once the program can pass no more; None until then.
    """

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self._requests, self._replies = requests, replies
        self.end_of_tests: tuple[str, str] | None = None

    def ask(self, request: Any) -> Any:
        """Sends one line and returns the answer; ends the tests where there is none or it is not JSON."""
        try:
            self._requests.write(json.dumps(request).encode("ascii") + b"\n")
            self._requests.flush()
        except BrokenPipeError:
            self.end("ended")
        line = self._replies.readline(_MAX_REPLY_BYTES)
        if not line:
            self.end("ended")
        try:
            return json.loads(line)
        except (ValueError, RecursionError, MemoryError):
            self.end("failed", UNREADABLE)

    def end(self, verdict: str, reason: str = "") -> NoReturn:
        """Ends the tests, whatever they catch."""
        self.end_of_tests = self.end_of_tests or (verdict, reason)
        raise EndOfTests

    def fail(self, reason: Any) -> NoReturn:
        """Ends the tests for a reason that the program names."""
        readable = isinstance(reason, str) and reason != confinement.PASSED
        self.end("failed", reason[:_MAX_REASON_LENGTH] if readable else UNREADABLE)

    def stand_in(self, name: str) -> Callable[..., Any]:
        """Returns a function that calls the program's function of this name."""

        def call(*arguments: Any, **keywords: Any) -> Any:
            return self._result(self.ask([name, self._give(arguments), self._give(keywords)]))

        call.__name__ = call.__qualname__ = name
        return call

    def _give(self, value: Any) -> Any:
        form = encode(value)
        text = json.dumps(form)  # quotes within a text are escaped there
        if f'{{"{OPAQUE}": "{Opaque.__name__}"' in text:
            self.end("failed", UNREADABLE)
        if f'{{"{OPAQUE}"' in text:
            self.end("unjudged", UNTESTABLE)
        return form

    def _result(self, reply: Any) -> Any:
        try:
            word, *content = reply
            if word == "value":
                return decode(*content)
            error = _exception(*content) if word == "raised" else None
        except Exception:
            self.end("failed", UNREADABLE)
        if error is None:
            self.fail(content[0] if content else None)
        raise error


def _exception(kinds: list[str], message: str) -> Exception:
    """Returns an exception of the first built-in class that takes a message alone; never one that ends a loop."""
    for kind in kinds:
        found = getattr(builtins, str(kind), None)
        if isinstance(found, type) and issubclass(found, Exception):
            if issubclass(found, (StopIteration, StopAsyncIteration)):
                break
            with contextlib.suppress(TypeError):
                return found(message)
    return RuntimeError(message)


def run_tests(message: dict[str, Any], program: Program) -> tuple[str, str]:
    """Starts the program and runs the tests against it. Returns verdict and reason."""
    scope: dict[str, Any] = {"__name__": "tests"}
    scope.update((name, program.stand_in(name)) for name in message["names"])
    try:
        loaded = program.ask(message["program"])
        if loaded != confinement.PASSED:
            program.fail(loaded)
    except EndOfTests:
        reason = ""
    else:
        reason = confinement.run_source(message["tests"], "<tests>", scope)
    verdict = "passed" if reason == confinement.PASSED else "failed"
    return program.end_of_tests or (verdict, reason)


def main() -> None:
    """Locks the process down, runs the tests and reports."""
    requests, replies, result, memory_mb, cpu_seconds, parent = (int(argument) for argument in sys.argv[1:7])
    ctypes.CDLL(None).prctl(_SET_DUMPABLE, 0)  # closes /proc/PID/mem and /proc/PID/fd to the program
    report = ("unjudged", UNSAFE)
    if confinement.lock_down(memory_mb, cpu_seconds, parent):
        message = json.loads(sys.stdin.buffer.read())
        report = run_tests(message, Program(os.fdopen(requests, "wb"), os.fdopen(replies, "rb")))
    os.write(result, json.dumps(report).encode("ascii"))
    os._exit(0)


main()
