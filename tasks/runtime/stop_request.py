"""Asking a job to stop early: it ends at its next step boundary, with what it did saved, and says so.

Three ways lead here, because parent and job may share no machine: SIGTERM or SIGUSR1 to the job's own process (a
scheduler that takes the machine back), a message of the parent (`tasks.runtime.workers`), and a file beside the job
file (`tasks.runtime.job_files`). A job that does not look is ended by whoever asked, when its patience is over.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
STOPPED_EXIT_CODE = 75
"""Exit code of a job's process that stopped early: EX_TEMPFAIL of sysexits.h, "try again later"."""
STOP_FILE_VARIABLE = "RLSCALE_STOP_FILE"

_asked = threading.Event()


class JobStopped(Exception):
    """Raised by a job that was asked to stop, after it saved what it had done."""


def request_stop() -> None:
    """Asks the job of this process to stop."""
    _asked.set()


def stop_requested() -> bool:
    """Whether the job of this process has been asked to stop."""
    file = os.environ.get(STOP_FILE_VARIABLE)
    return _asked.is_set() or (file is not None and Path(file).exists())


def end_with_parent() -> None:
    """Has the kernel kill this process when the thread that started it ends (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def stoppable() -> Iterator[None]:
    """Around a job that looks at `stop_requested`: meanwhile the signals ask instead of ending the process."""
    main_thread = threading.current_thread() is threading.main_thread()
    before = (
        {number: signal.signal(number, lambda *_: request_stop()) for number in STOP_SIGNALS} if main_thread else {}
    )
    try:
        yield
    finally:
        _asked.clear()
        for number, handler in before.items():
            signal.signal(number, handler)
