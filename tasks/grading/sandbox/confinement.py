"""What both sandboxed interpreters do: drop every right they do not need, and run a source text to its end.

Stand-alone (standard library only).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from typing import Any

import landlock
import syscall_filter

PASSED = "passed"
_FILE_BYTES = 1 << 20
_OPEN_FILES = 32
_SET_DEATH_SIGNAL = 1


def lock_down(memory_mb: int, cpu_seconds: int, parent: int) -> bool:
    """Drops rights, widest first. Returns False where the system-call filter cannot be installed."""
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:
        return False
    _limit(memory_mb, cpu_seconds)
    readable = [sys.base_prefix, "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/dev/null", "/dev/urandom", "/dev/zero"]
    confined = landlock.confine(readable, os.getcwd())
    _drop_capabilities()
    return syscall_filter.install(files=not confined)


def _limit(memory_mb: int, cpu_seconds: int) -> None:
    limits = {
        resource.RLIMIT_AS: memory_mb << 20,
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_FSIZE: _FILE_BYTES,
        resource.RLIMIT_NOFILE: _OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in limits.items():
        resource.setrlimit(kind, (value, value))


def _drop_capabilities() -> None:
    """Makes root an ordinary user as far as the kernel asks for capabilities (version 3 header, all sets empty)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    nothing = (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capset(header, nothing)


def run_source(source: str, file_name: str, scope: dict[str, Any]) -> str:
    """Runs a source text in a scope, with no features of this module's. Returns "passed" or why not."""
    try:
        exec(compile(source, file_name, "exec", dont_inherit=True), scope)
    except BaseException as error:
        return failure(error)
    return PASSED


def failure(error: BaseException) -> str:
    """Returns why a program or a test that raised this has failed."""
    if isinstance(error, SystemExit):
        return "the program called exit"
    if isinstance(error, AssertionError):
        return "a test failed"
    if isinstance(error, MemoryError):
        return "the program ran out of memory"
    return f"{type(error).__name__} was raised"
