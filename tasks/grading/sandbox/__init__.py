"""Runs an untrusted program in a process that can do nothing but compute.

The program gets a fresh interpreter (standard library only) in a session and a temporary folder of its own, with
- CPU, memory, file-size (1 MiB) and open-file limits, and a time limit at which its group is killed;
- no sockets, no new processes, no signals to others, no changes of system state (a seccomp filter);
- no files but the standard library for reading and its folder for writing (Landlock; on a kernel without it, all
  writing is refused and reading is open);
- no capabilities, an empty environment, no inherited descriptors but the one for its result.
Without seccomp nothing is run and the answer stays unjudged.

Not covered: a program made for this very sandbox can walk the interpreter's frames to the token and forge a pass, or
return objects that call themselves equal to anything; it can use up to its limits of CPU and memory; kernel bugs.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tasks.grading.time_limits import remaining_seconds

MEMORY_MB = 512
PASSED = "passed"
TIMED_OUT = "timed out"
UNSAFE = "no sandbox on this machine"
_MAX_REPORT_BYTES = 4096


@dataclass(frozen=True)
class Outcome:
    """How a program ended: whether it ran to its end, why not, and the wall seconds it took."""

    passed: bool
    reason: str
    seconds: float


def run_program(program: str, seconds: float, memory_mb: int = MEMORY_MB) -> Outcome:
    """Runs a Python program in the sandbox.

    Args:
        program: source; passes when it runs to its end without an exception.
        seconds: time limit, see `time_limits`; the kernel's CPU limit is a second more.
        memory_mb: address space in MiB.
    """
    start = time.monotonic()
    token = secrets.token_hex(16)
    reading, writing = os.pipe()
    try:
        with tempfile.TemporaryDirectory(prefix="answer-") as folder:
            child = _start(folder, writing, memory_mb, seconds)
            os.close(writing)
            writing = -1
            finished = _send_and_wait(child, json.dumps({"program": program, "token": token}).encode("ascii"), seconds)
        reason = _report(reading, token) if finished else TIMED_OUT
    finally:
        os.close(reading)
        if writing >= 0:
            os.close(writing)
    if reason is None:
        reason = f"the program ended early with code {child.returncode}"
    return Outcome(reason == PASSED, reason, time.monotonic() - start)


def _start(folder: str, writing: int, memory_mb: int, seconds: float) -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("child.py")
    arguments = [str(number) for number in (writing, memory_mb, math.ceil(seconds) + 1, os.getpid())]
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", str(script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[writing],
        cwd=folder,
        env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"},
        start_new_session=True,
    )


def _send_and_wait(child: subprocess.Popen[bytes], message: bytes, seconds: float) -> bool:
    """Sends the program and waits. Returns whether it ended by itself within the limit; it is gone either way."""
    start, timeout_s = time.monotonic(), seconds
    unsent: bytes | None = message
    try:
        while timeout_s > 0:
            try:
                child.communicate(unsent, timeout=timeout_s)
                return True
            except subprocess.TimeoutExpired:
                unsent = None  # communicate keeps what is left to send
                timeout_s = remaining_seconds(child.pid, 0.0, seconds, time.monotonic() - start)
        return False
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


def _report(reading: int, token: str) -> str | None:
    """Returns what the child reported under its token; None where it reported nothing."""
    text = os.read(reading, _MAX_REPORT_BYTES)
    try:
        report = json.loads(text)
    except ValueError:
        return None
    if isinstance(report, list) and len(report) == 2 and report[0] == token:
        return str(report[1])
    return None
