"""The processes of a grading pool: starts the fork server, assigns work to its workers, replaces the hung ones."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.grading import time_limits
from tasks.grading.pool.framing import MESSAGE, PID, encode, receive
from tasks.grading.verdicts import DeferredGrade, Status, Verdict

TIMED_OUT = "timed out"
DIED = "the worker died"
RETRY_FRACTION = 0.5
# The sandbox enforces the time limit of a program; its worker then still has to report the verdict.
GRACE_SECONDS = 0.3
# Long, since on a crowded machine a second of imports can take minutes.
_START_SECONDS = 900.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class _Attempt:
    """A piece of work, whether this is its second attempt, and the seconds the first one took."""

    work: DeferredGrade
    is_retry: bool = False
    earlier_seconds: float = 0.0


@dataclass(eq=False)
class _Worker:
    """A worker process and what it is doing.

    Attributes:
        current: the attempt it works on; None while it is idle.
        started: when that began, in monotonic seconds.
        wait_at_start: seconds the worker had waited for a core by then.
        limit: seconds it may take.
        deadline: when to check whether it has used them.
    """

    pid: int
    connection: socket.socket
    current: _Attempt | None = None
    started: float = 0.0
    wait_at_start: float = 0.0
    limit: float = 0.0
    deadline: float = 0.0

    def start(self, current: _Attempt, limit: float) -> None:
        """Sends work to the worker. Its time limit starts here, not when the work was queued."""
        self.current, self.limit = current, limit
        self.wait_at_start = time_limits.cpu_wait_seconds(self.pid)
        # A worker that is already gone shows as closed in the next wait, which retries its work.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.sendall(encode({"work": dataclasses.asdict(current.work), "seconds": limit}))
        self.started = time.monotonic()
        sandboxed = current.work.scorer == "code"
        self.deadline = self.started + (time_limits.MAX_STRETCH * limit + GRACE_SECONDS if sandboxed else limit)

    def overdue(self) -> bool:
        """Tells whether the worker must be stopped; one that was merely starved gets a later deadline."""
        now = time.monotonic()
        if self.current is None or now < self.deadline:
            return False
        remaining = time_limits.remaining_seconds(self.pid, self.wait_at_start, self.limit, now - self.started)
        self.deadline = now + remaining
        return remaining <= 0.0

    def end(self, reason: str, status: Status = "wrong", lenient: float = 0.0, **rest: Any) -> tuple[_Attempt, Verdict]:
        """Makes the worker idle. Returns its attempt and the verdict, with the seconds of both attempts."""
        current, self.current = self.current, None
        assert current is not None
        extracted = rest.get("extracted", current.work.extracted)
        seconds = current.earlier_seconds + time.monotonic() - self.started
        return current, Verdict(status, lenient, extracted, reason, seconds, current.work.in_form)


class WorkerSet:
    """A fork server and its workers; single-threaded use. Raises RuntimeError when the server cannot be started."""

    def __init__(self, workers: int, seconds: float, memory_mb: int) -> None:
        self.num_workers = workers
        self.seconds = seconds
        self.memory_mb = memory_mb
        self._workers: list[_Worker] = []
        self._control, server_end = socket.socketpair()
        self._control.settimeout(_START_SECONDS)
        root = str(Path(__file__).resolve().parents[3])
        python_path = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        # One hash seed for all: sympy orders terms by hash, and a verdict must not depend on the process.
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(python_path),
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
        }
        with server_end:
            self._fork_server = subprocess.Popen(
                [sys.executable, "-m", "tasks.grading.pool.fork_server", str(server_end.fileno())],
                pass_fds=[server_end.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )

    def close(self) -> None:
        """Ends the fork server, and with it the workers."""
        for worker in self._workers:
            worker.connection.close()
        self._workers.clear()
        # Shutting down reaches the server even while a forked child of ours still holds a copy of the socket.
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()
        try:
            self._fork_server.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._fork_server.kill()
            self._fork_server.wait()

    def run(self, works: Sequence[DeferredGrade]) -> tuple[dict[DeferredGrade, Verdict], int]:
        """Decides every piece of work.

        Returns:
            The verdict of each, and how many needed a second worker.
        """
        pending = deque(_Attempt(work) for work in works)
        outcomes: dict[DeferredGrade, Verdict] = {}
        retried = 0
        with selectors.DefaultSelector() as selector:
            for worker in self._workers:
                selector.register(worker.connection, selectors.EVENT_READ, worker)
            while len(outcomes) < len(works):
                self._assign(pending, selector)
                for ended, verdict in self._wait(selector):
                    if verdict.reason in (TIMED_OUT, DIED) and not ended.is_retry:
                        pending.appendleft(_Attempt(ended.work, True, verdict.seconds))
                        retried += 1
                    else:
                        outcomes[ended.work] = verdict
        return outcomes, retried

    def _assign(self, pending: deque[_Attempt], selector: selectors.BaseSelector) -> None:
        while pending:
            idle = next((worker for worker in self._workers if worker.current is None), None)
            if idle is None:
                if len(self._workers) >= self.num_workers:
                    return
                idle = self._spawn()
                selector.register(idle.connection, selectors.EVENT_READ, idle)
            current = pending.popleft()
            idle.start(current, self.seconds * (RETRY_FRACTION if current.is_retry else 1.0))

    def _wait(self, selector: selectors.BaseSelector) -> list[tuple[_Attempt, Verdict]]:
        """Waits for the next event and returns the attempts that ended, each with its verdict."""
        busy = [worker for worker in self._workers if worker.current is not None]
        deadline = min(worker.deadline for worker in busy)
        ended: list[tuple[_Attempt, Verdict]] = []
        for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
            worker: _Worker = key.data
            try:
                message = receive(worker.connection)
            except (EOFError, ConnectionResetError):
                self._kill(worker, selector)
                if worker.current is not None:
                    ended.append(worker.end(DIED))
                continue
            ended.append(worker.end(**message["verdict"]))
            if message["leaving"]:
                self._kill(worker, selector)
        for worker in busy:
            if worker.overdue():
                self._kill(worker, selector)
                ended.append(worker.end(TIMED_OUT))
        return ended

    def _spawn(self) -> _Worker:
        try:
            self._control.sendall(MESSAGE.pack(b"S", self.memory_mb))
            data, descriptors, _, _ = socket.recv_fds(self._control, PID.size, 1)
        except OSError as error:
            raise RuntimeError("the grading fork server does not answer") from error
        if len(data) < PID.size or not descriptors:
            code = self._fork_server.poll()
            raise RuntimeError(f"the grading fork server ended with code {code}; its error is above")
        worker = _Worker(PID.unpack(data)[0], socket.socket(fileno=descriptors[0]))
        self._workers.append(worker)
        return worker

    def _kill(self, worker: _Worker, selector: selectors.BaseSelector) -> None:
        selector.unregister(worker.connection)
        worker.connection.close()
        self._workers.remove(worker)
        self._control.sendall(MESSAGE.pack(b"K", worker.pid))
