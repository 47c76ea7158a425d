"""The fork server: a small single-threaded process that imports math-verify once and forks the grading workers.

Differs from a process pool in what it guards against:
- it is started by exec, never by fork, so the caller may hold threads, an event loop, CUDA or accelerate state;
- workers are forked from it, so replacing a killed worker takes milliseconds, not an import of sympy;
- it lives in a session of its own (Ctrl-C does not reach it) and leaves when its control socket closes or its parent
  changes, so that also a caller killed by SIGKILL leaves nothing behind; workers die with it (PR_SET_PDEATHSIG, which
  is safe here because the forking thread is the only one).

Protocol on the control socket: `S` + worker's memory limit in MB asks for a worker; the answer is its process id with
the parent's end of its socket attached. `K` + process id kills one. Run as `python -m tasks.grading.pool.fork_server
FD`.

Not covered: systems without PR_SET_PDEATHSIG (macOS) may keep a worker busy until its current answer is finished.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import socket
import sys
import tempfile

from tasks.grading.pool import worker
from tasks.grading.pool.framing import MESSAGE, PID

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Asks the kernel to kill this process when its parent dies. Linux only; elsewhere it does nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _fork_worker(control: socket.socket, memory_mb: int, children: set[int]) -> None:
    pool_end, worker_end = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            die_with_parent()
            if os.getppid() == parent:
                control.close()
                pool_end.close()
                limit = memory_mb << 20
                resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
                resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
                worker.serve(worker_end)
                code = 0
        finally:
            os._exit(code)
    children.add(pid)
    worker_end.close()
    socket.send_fds(control, [PID.pack(pid)], [pool_end.fileno()])
    pool_end.close()


def _reap(children: set[int]) -> None:
    for pid in list(children):
        if os.waitpid(pid, os.WNOHANG)[0]:
            children.discard(pid)


def _kill(pid: int, children: set[int]) -> None:
    """Kills a worker of ours; a process id that was reaped already may belong to another process by now."""
    if pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        children.discard(pid)


def serve(control: socket.socket) -> None:
    """Forks and kills workers as asked until the control socket closes or the parent is gone."""
    parent = os.getppid()
    children: set[int] = set()
    try:
        while os.getppid() == parent:
            readable, _, _ = select.select([control], [], [], 0.5)
            _reap(children)
            if not readable:
                continue
            message = control.recv(MESSAGE.size, socket.MSG_WAITALL)
            if len(message) < MESSAGE.size:
                break
            verb, value = MESSAGE.unpack(message)
            if verb == b"S":
                _fork_worker(control, value, children)
            else:
                _kill(value, children)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the pool went away in the middle of a message: leave as on a closed socket
    finally:
        for pid in list(children):
            _kill(pid, children)


def main() -> None:
    """Entry point: imports what the workers share, then serves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=int(sys.argv[1]))
    with tempfile.TemporaryDirectory(prefix="grading-") as folder:
        # Workers are killed without notice; what they leave on disk lies below this folder and goes with it.
        tempfile.tempdir = folder
        worker.preload()
        serve(control)
    os._exit(0)  # nothing is left to close, and unloading sympy takes half a second


if __name__ == "__main__":
    main()
