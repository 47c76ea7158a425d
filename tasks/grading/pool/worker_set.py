"""The processes of a grading pool: starts the nursery, hands work to its workers, kills and replaces the hung ones."""

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

from tasks.grading.pool import framing as wire
from tasks.grading.pool import time_limits as clock
from tasks.grading.verdicts import DeferredGrade, Status, Verdict

TIMED_OUT = "timed out"
DIED = "the worker died"
RETRY_SHARE = 0.5
# A sandboxed program keeps the limit itself and is cut off by its worker; the worker then still has to report it.
GRACE_SECONDS = 0.3
# Generous: on a crowded machine a second of imports can take minutes, and giving up early helps nobody.
_START_SECONDS = 900.0
_STOP_SECONDS = 10.0


@dataclass(frozen=True)
class _Attempt:
    """A piece of work, whether this is its second try, and the seconds spent on the first."""

    work: DeferredGrade
    second: bool = False
    spent: float = 0.0


@dataclass(eq=False)
class _Worker:
    """A worker process and what it is doing.

    Attributes:
        started: when that began, in monotonic seconds.
        before: seconds the worker had waited for a core by then.
        limit: seconds it may take.
        deadline: when to look whether it has had them.
    """

    pid: int
    connection: socket.socket
    current: _Attempt | None = None
    started: float = 0.0
    before: float = 0.0
    limit: float = 0.0
    deadline: float = 0.0

    def start(self, current: _Attempt, limit: float) -> None:
        """Hands over work. The clock starts here, not when the work was queued."""
        self.current, self.limit = current, limit
        self.before = clock.cpu_wait_seconds(self.pid)
        # A worker that is already gone shows as closed in the next wait, which is where its work is dealt with.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.connection.sendall(wire.encode({"work": dataclasses.asdict(current.work), "seconds": limit}))
        self.started = time.monotonic()
        sandboxed = current.work.scorer == "code"
        self.deadline = self.started + (clock.MAX_STRETCH * limit + GRACE_SECONDS if sandboxed else limit)

    def overdue(self) -> bool:
        """Tells whether the worker must be stopped; one that was merely starved gets a later deadline."""
        now = time.monotonic()
        if self.current is None or now < self.deadline:
            return False
        owed = clock.remaining_seconds(self.pid, self.before, self.limit, now - self.started)
        self.deadline = now + owed
        return owed <= 0.0

    def end(self, reason: str, status: Status = "wrong", score: float = 0.0, **rest: Any) -> tuple[_Attempt, Verdict]:
        """Makes the worker idle. Returns what it was doing and the verdict, with all seconds spent on it."""
        current, self.current = self.current, None
        assert current is not None
        extracted = rest.get("extracted", current.work.extracted)
        seconds = current.spent + time.monotonic() - self.started
        return current, Verdict(status, score, extracted, reason, seconds)


class WorkerSet:
    """A nursery and its workers; single-threaded use. Raises RuntimeError when the nursery cannot be started."""

    def __init__(self, workers: int, seconds: float, memory_mb: int) -> None:
        self.size = workers
        self.seconds = seconds
        self.memory_mb = memory_mb
        self._workers: list[_Worker] = []
        self._control, theirs = socket.socketpair()
        self._control.settimeout(_START_SECONDS)
        root = str(Path(__file__).resolve().parents[3])
        paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        # One hash seed for all: sympy orders terms by hash, and a verdict must not depend on the process.
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
        }
        with theirs:
            self._nursery = subprocess.Popen(
                [sys.executable, "-m", "tasks.grading.pool.fork_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )

    def close(self) -> None:
        """Ends the nursery, and with it the workers."""
        for each in self._workers:
            each.connection.close()
        self._workers.clear()
        # Shutting down reaches the nursery even while a forked child of ours still holds a copy of the socket.
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        self._control.close()
        try:
            self._nursery.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._nursery.kill()
            self._nursery.wait()

    def run(self, works: Sequence[DeferredGrade]) -> tuple[dict[DeferredGrade, Verdict], int]:
        """Decides every piece of work.

        Returns:
            The verdict of each, and how many needed a second worker.
        """
        todo = deque(_Attempt(work) for work in works)
        outcomes: dict[DeferredGrade, Verdict] = {}
        retried = 0
        with selectors.DefaultSelector() as selector:
            for each in self._workers:
                selector.register(each.connection, selectors.EVENT_READ, each)
            while len(outcomes) < len(works):
                self._hand_out(todo, selector)
                for ended, verdict in self._wait(selector):
                    if verdict.reason in (TIMED_OUT, DIED) and not ended.second:
                        todo.appendleft(_Attempt(ended.work, True, verdict.seconds))
                        retried += 1
                    else:
                        outcomes[ended.work] = verdict
        return outcomes, retried

    def _hand_out(self, todo: deque[_Attempt], selector: selectors.BaseSelector) -> None:
        while todo:
            idle = next((each for each in self._workers if each.current is None), None)
            if idle is None:
                if len(self._workers) >= self.size:
                    return
                idle = self._spawn()
                selector.register(idle.connection, selectors.EVENT_READ, idle)
            current = todo.popleft()
            idle.start(current, self.seconds * (RETRY_SHARE if current.second else 1.0))

    def _wait(self, selector: selectors.BaseSelector) -> list[tuple[_Attempt, Verdict]]:
        """Waits for the next event and returns the tries that ended, each with its verdict."""
        busy = [each for each in self._workers if each.current is not None]
        deadline = min(each.deadline for each in busy)
        ended: list[tuple[_Attempt, Verdict]] = []
        for key, _ in selector.select(max(0.0, deadline - time.monotonic())):
            each: _Worker = key.data
            try:
                message = wire.receive(each.connection)
            except (EOFError, ConnectionResetError):
                self._kill(each, selector)
                if each.current is not None:
                    ended.append(each.end(DIED))
                continue
            ended.append(each.end(**message["verdict"]))
            if message["leaving"]:
                self._kill(each, selector)
        for each in busy:
            if each.overdue():
                self._kill(each, selector)
                ended.append(each.end(TIMED_OUT))
        return ended

    def _spawn(self) -> _Worker:
        try:
            self._control.sendall(wire.MESSAGE.pack(b"S", self.memory_mb))
            data, descriptors, _, _ = socket.recv_fds(self._control, wire.PID.size, 1)
        except OSError as error:
            raise RuntimeError("the grading nursery does not answer") from error
        if len(data) < wire.PID.size or not descriptors:
            raise RuntimeError(f"the grading nursery ended with code {self._nursery.poll()}; its error is above")
        hired = _Worker(wire.PID.unpack(data)[0], socket.socket(fileno=descriptors[0]))
        self._workers.append(hired)
        return hired

    def _kill(self, each: _Worker, selector: selectors.BaseSelector) -> None:
        selector.unregister(each.connection)
        each.connection.close()
        self._workers.remove(each)
        self._control.sendall(wire.MESSAGE.pack(b"K", each.pid))
