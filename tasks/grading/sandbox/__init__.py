"""Runs an untrusted program, and tests of it, in processes that can do nothing but compute.

Program and tests get a fresh interpreter each (standard library only; `child.py`, `judge.py`), in a session and a
temporary folder of its own, with
- CPU, memory, file-size (1 MiB) and open-file limits, and a time limit at which both are killed;
- no sockets, no new processes, no signals to others, no changes of system state (a seccomp filter);
- no files but the standard library for reading and its folder for writing (Landlock; on a kernel without it, all
  writing is refused and reading is open);
- no capabilities, an empty environment, no inherited descriptors but two pipes between them and one for the result.
Without seccomp nothing is run and the answer stays unjudged.

The two share no memory: the program sees the arguments of each call and no more of the tests, and what it returns
reaches them as built-in values by content (`plain_values.py`), so that neither forged objects nor patched modules nor
a look at the stack can make a test pass.

Not covered: tests that call helpers which the program itself defines (3 of the 164 HumanEval rows) believe these;
changes to arguments are not seen by the tests, and classes of the program cannot be tested; on a kernel without
Landlock a program may read the caller's memory through /proc; it can use up to its limits of CPU and memory; kernel
bugs.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tasks.grading.time_limits import remaining_seconds

MEMORY_MB = 512
PASSED = "passed"
TIMED_OUT = "timed out"
_MAX_REPORT_BYTES = 4096
_EXIT_SECONDS = 0.5


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        passed: whether program and tests ran to their end.
        reason: "passed", or why not.
        seconds: wall seconds it took.
        judged: False where it could not be run, or the tests cannot be run against any program.
    """

    passed: bool
    reason: str
    seconds: float
    judged: bool = True


def run_program(
    program: str, seconds: float, tests: str = "", names: Sequence[str] = (), memory_mb: int = MEMORY_MB
) -> Outcome:
    """Runs a Python program, and tests of it, in the sandbox.

    Args:
        program: source; must run to its end without an exception.
        seconds: time limit of both together, see `time_limits`; the kernel's CPU limit is a second more.
        tests: source; passes when it runs to its end without an exception.
        names: what the tests take from the program: its functions of these names.
        memory_mb: address space of each of the two processes in MiB.
    """
    start = time.monotonic()
    message = {"program": program, "tests": tests, "names": list(names)}
    with _pipe() as result, _started(result[1], memory_mb, seconds) as (child, judge):
        os.close(result.pop())
        with contextlib.suppress(BrokenPipeError), judge.stdin as stdin:  # type: ignore[union-attr]
            stdin.write(json.dumps(message).encode("ascii"))
        report = _await_report(result[0], child.pid, judge.pid, seconds)
        if report is None:
            verdict, reason = "failed", TIMED_OUT
        else:
            verdict, reason = json.loads(report or b'["failed", "the tests ended early"]')
        if verdict == "ended":
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_EXIT_SECONDS)
    if verdict == "ended":
        reason = f"the program ended early with code {child.returncode}"
    return Outcome(verdict == PASSED, reason, time.monotonic() - start, verdict != "unjudged")


@contextlib.contextmanager
def _pipe() -> Iterator[list[int]]:
    """Opens a pipe as [reading, writing] end; closes the ends that are still in the list."""
    ends = list(os.pipe())
    try:
        yield ends
    finally:
        for end in ends:
            os.close(end)


@contextlib.contextmanager
def _started(
    result: int, memory_mb: int, seconds: float
) -> Iterator[tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]]:
    """Starts the processes of program and tests, joined by pipes; they and their folders are gone afterwards."""
    limits = (memory_mb, math.ceil(seconds) + 1, os.getpid())
    with contextlib.ExitStack() as running:
        folders = [running.enter_context(tempfile.TemporaryDirectory(prefix="answer-")) for _ in range(2)]
        with _pipe() as requests, _pipe() as replies:
            child = _start("child.py", folders[0], (requests[0], replies[1]), limits, subprocess.DEVNULL)
            running.callback(_stop, child)
            judge = _start("judge.py", folders[1], (requests[1], replies[0], result), limits, subprocess.PIPE)
            running.callback(_stop, judge)
        yield child, judge


def _start(
    script: str, folder: str, descriptors: tuple[int, ...], limits: tuple[int, ...], stdin: int
) -> subprocess.Popen[bytes]:
    arguments = [str(number) for number in (*descriptors, *limits)]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name(script)), *arguments],
        stdin=stdin,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=descriptors,
        cwd=folder,
        env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
        start_new_session=True,
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _await_report(result: int, child: int, judge: int, seconds: float) -> bytes | None:
    """Returns what the judge reported, empty where it ended without; None when the time is up."""
    start, timeout_s = time.monotonic(), seconds
    while timeout_s > 0:
        if select.select([result], [], [], timeout_s)[0]:
            return os.read(result, _MAX_REPORT_BYTES)
        timeout_s = remaining_seconds(child, 0.0, seconds, time.monotonic() - start, others=(judge,))
    return None
