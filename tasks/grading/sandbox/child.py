"""The sandboxed interpreter: takes a program from stdin, gives up every right it does not need, runs it, reports.

Started by `sandbox.run_program` as `python -I -S child.py RESULT_FD MEMORY_MB CPU_SECONDS PARENT_PID`, in a session and
an empty folder of its own. Reports on RESULT_FD the token it was given and the word "passed", or why not. A program
that ends the process by any means ends it without the token, and so fails.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import sys

_FILE_BYTES = 1 << 20
_OPEN_FILES = 32
UNSAFE = "no sandbox on this machine"


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


def _lock_down(memory_mb: int, cpu_seconds: int, parent: int) -> bool:
    """Gives up rights, widest first. Returns False where the system-call filter cannot be installed."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path.insert(0, here)
    import landlock
    import syscall_filter

    sys.path.remove(here)
    set_death_signal = 1
    ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL)
    if os.getppid() != parent:
        return False
    _limit(memory_mb, cpu_seconds)
    readable = [sys.base_prefix, "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/dev/null", "/dev/urandom", "/dev/zero"]
    confined = landlock.confine(readable, os.getcwd())
    _drop_capabilities()
    return syscall_filter.install(files=not confined)


def _run(source: str) -> str:
    """Runs the program and returns "passed" or why not. `__name__` is not "__main__": such blocks do not run."""
    try:
        exec(compile(source, "<answer>", "exec"), {"__name__": "answer"})
    except SystemExit:
        return "the program called exit"
    except AssertionError:
        return "a test failed"
    except MemoryError:
        return "the program ran out of memory"
    except BaseException as error:
        return f"{type(error).__name__} was raised"
    return "passed"


def main() -> None:
    """Reads the program, locks the process down, runs and reports."""
    result, memory_mb, cpu_seconds, parent = (int(argument) for argument in sys.argv[1:5])
    message = json.loads(sys.stdin.buffer.read())
    outcome = _run(message["program"]) if _lock_down(memory_mb, cpu_seconds, parent) else UNSAFE
    os.write(result, json.dumps([message["token"], outcome]).encode())
    os._exit(0)


main()
