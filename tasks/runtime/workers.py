"""Worker processes that import the heavy libraries once and do many jobs, one after another.

A job names a function (`package.module:function`) and its keyword arguments as JSON values. Parent and worker talk
over a local socket, so a worker may be started by any launcher (`accelerate launch`, another interpreter) that keeps
neither pipes nor descriptors. Why not `concurrent.futures`: its workers cannot be started through a launcher, and one
that is killed breaks the whole pool.

A worker whose parent vanishes, however it vanishes, stops at once; a worker that dies raises `WorkerDied` for its own
job only and is replaced. What jobs answer: `tasks.runtime.job_answers`.

Where parent and worker share no machine the job and its answer are files: `tasks.runtime.job_files`.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import reduction
from multiprocessing.connection import Client, Connection, Listener, wait
from pathlib import Path
from typing import Any, cast

from tasks.runtime.job_answers import (
    Answer,
    LaunchFailed,
    WorkCancelled,
    WorkerDied,
    answer_job,
    decisive_answer,
    is_cause,
    unwrap_answer,
)
from tasks.runtime.stop_request import request_stop

START_SECONDS = 180.0
"""A worker that has not called back by then is aborted."""
SETTLE_SECONDS = 2.0
"""After a rank's failure, how long the others may take to tell theirs or to be found dead: one may be the cause."""


class Worker:
    """One worker, started at its first job: a process, or the ranks of a distributed launch working as one."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path | None = None,
        num_processes: int = 1,
        pass_fds: Sequence[int] = (),
    ) -> None:
        """Prepares a worker.

        Args:
            command: command up to and including `-m`, e.g. `[python, "-m"]`.
            environment: variables set besides this process's own.
            log: file that takes the worker's output; None leaves it on standard error.
            num_processes: processes that the command starts; each does every job, and the answer of the first to
                fail, else of rank 0, counts.
            pass_fds: file descriptors that every process of the worker keeps open as long as it lives: locks on what
                it uses, so that they outlive this process but not the worker.
        """
        self._command = list(command)
        self._environment = dict(environment)
        self._log = log
        self._num_processes = num_processes
        self._pass_fds = tuple(pass_fds)
        self._process: subprocess.Popen[bytes] | None = None
        self._connections: list[Connection] = []
        self._lock = threading.Lock()
        self._ended = False

    def run(self, task_path: str, arguments: Mapping[str, Any]) -> Any:
        """Does one job and returns its JSON-able result.

        Raises:
            InputError: the job found bad input.
            JobFailed: the job raised.
            OutOfMemory: it ran out of memory; the worker is replaced.
            LaunchFailed: the process did not start.
            WorkerDied: a process ended, or what the job worked with was lost.
            JobPreempted: the job was asked to stop and saved its work.
            WorkCancelled: `end` was called, now or before.
        """
        try:
            connections = self._connections or self._start()
            with self._lock:
                if self._ended:
                    raise WorkerDied("ended before the job began")
                for connection in connections:
                    connection.send((task_path, dict(arguments)))
            answer = self._answer(connections)
        except (OSError, WorkerDied) as error:
            self.close()
            if self._ended:
                raise WorkCancelled(f"stopped while doing {task_path}") from None
            if isinstance(error, WorkerDied):
                raise
            raise WorkerDied(f"the worker doing {task_path} ended before it took the job") from error
        if answer[0] not in ("done", "input", "failed") or (answer[0] != "done" and self._num_processes > 1):
            self.close()  # its memory may be fragmented, and other ranks may wait for the failed one forever
        return unwrap_answer(answer)

    def _answer(self, connections: Sequence[Connection]) -> Answer:
        """Waits for every rank, or after a failure for a moment, and returns the answer that counts.

        Raises:
            WorkerDied: a rank ended without an answer, and no other one's explains it.
        """
        answers: dict[int, Answer] = {}
        waiting, deadline = list(connections), None
        while waiting:
            remaining = None if deadline is None else max(0.0, deadline - time.monotonic())
            ready = cast("list[Connection]", wait(waiting, remaining))
            if not ready:
                break
            for connection in ready:
                try:
                    rank, *answer = connection.recv()
                except (EOFError, OSError) as error:
                    if is_cause(answers.values()):
                        return decisive_answer(answers)
                    others = "".join(
                        f"; rank {rank}: {text}" for rank, (kind, text) in answers.items() if kind != "done"
                    )
                    raise WorkerDied(f"a worker process ended without an answer{others}") from error
                answers[rank] = (answer[0], answer[1])
                waiting.remove(connection)
                if answer[0] != "done" and deadline is None:
                    deadline = time.monotonic() + SETTLE_SECONDS
        return decisive_answer(answers)

    def _start(self) -> list[Connection]:
        key = secrets.token_bytes(16)
        environment = os.environ | self._environment | {"RLSCALE_WORKER_KEY": key.hex()}
        with (
            tempfile.TemporaryDirectory(prefix="rlscale-") as folder,
            Listener(
                address := str(Path(folder) / "socket"), "AF_UNIX", backlog=self._num_processes, authkey=key
            ) as listener,
            contextlib.ExitStack() as stack,
        ):
            out = stack.enter_context(self._log.open("ab")) if self._log else sys.stderr.fileno()
            with self._lock:  # `end` comes before the process, and there is none, or after it, and ends it
                if self._ended:
                    raise WorkerDied("ended before it started")
                self._process = process = subprocess.Popen(
                    [*self._command, "tasks.runtime.workers", address],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                    pass_fds=self._pass_fds,
                )
            connections = [_accept(listener, process) for _ in range(self._num_processes)]
        for connection in connections:
            connection.send(len(self._pass_fds))
            for lock_fd in self._pass_fds:
                reduction.send_handle(connection, lock_fd, process.pid)
        with self._lock:
            self._connections = connections
        return connections

    def ask_stop(self) -> None:
        """Asks the job in flight to save its work and stop, one that cannot goes on; no other job will begin."""
        with self._lock:
            self._ended = True
            connections = self._connections
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.send(None)
        if not connections:
            self.close()  # it only starts, or does nothing

    def close(self) -> None:
        """Ends the processes and everything they started, at once; the next job starts them again."""
        with self._lock:
            process, self._process = self._process, None
            connections, self._connections = self._connections, []
        for connection in connections:
            _hang_up(connection)  # first, so that a thread that waits for an answer sees its connection end
        if process is not None:
            stop_group(process)
        for connection in connections:
            connection.close()

    def end(self) -> None:
        """Ends the processes permanently; a job that another thread waits for raises `WorkCancelled`."""
        with self._lock:
            self._ended = True
        self.close()


def _hang_up(connection: Connection) -> None:
    """Ends a connection under both sides' feet, and the process group at its other end."""
    with socket.socket(fileno=os.dup(connection.fileno())) as line, contextlib.suppress(OSError):
        pid = struct.unpack("3i", line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))[0]
        gone = connection.poll() and not line.recv(1, socket.MSG_PEEK)
        line.shutdown(socket.SHUT_RDWR)
        if pid > 0 and not gone:  # a process that has ended may have left its id to another
            os.killpg(os.getpgid(pid), signal.SIGKILL)


def _accept(listener: Listener, process: subprocess.Popen[bytes]) -> Connection:
    """Waits for the worker's call, or for its end."""
    accepted: queue.Queue[Connection] = queue.Queue()
    threading.Thread(target=lambda: accepted.put(listener.accept()), daemon=True).start()
    waited = 0.0
    while waited < START_SECONDS:
        with contextlib.suppress(queue.Empty):
            return accepted.get(timeout=0.2)
        waited += 0.2
        if process.poll() is not None:
            break
    stop_group(process)
    raise LaunchFailed(f"a worker process did not start (exit status {process.poll()})")


def stop_group(process: subprocess.Popen[bytes], timeout_s: float = 5.0) -> None:
    """Ends a process started in its own session, with all its children: SIGTERM, then SIGKILL."""
    for signal_number, limit_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal_number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(limit_s)
            if signal_number == signal.SIGTERM:
                continue  # the leader has gone; its children may not have


def thread_environment(threads: int) -> dict[str, str]:
    """Variables that keep a worker's numerical libraries to so many threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {name: str(threads) for name in names} | {"TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}


def worker_main(address: str) -> None:
    """The worker's own loop: takes jobs until the parent closes the connection or vanishes."""
    key = bytes.fromhex(os.environ.pop("RLSCALE_WORKER_KEY"))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides; a terminal's Ctrl-C reaches the whole group
    with Client(address, "AF_UNIX", authkey=key) as connection:
        rank = int(os.environ.get("RANK", "0"))
        lock_fds = [reduction.recv_handle(connection) for _ in range(connection.recv())]
        assert len(lock_fds) == len(set(lock_fds))  # kept open, never used: the locks last as long as this process
        for function, arguments in _jobs(connection):
            connection.send((rank, *answer_job(function, arguments)))


def _jobs(connection: Connection) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields jobs, while a thread takes requests to stop and lets a vanished parent end the process at once."""
    jobs: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()

    def watch() -> None:
        while True:
            try:
                job = connection.recv()
            except (EOFError, OSError):
                os.killpg(0, signal.SIGKILL)  # the group is the worker's own session: launcher, ranks and all
            if job is None:
                request_stop()
            else:
                jobs.put(job)

    threading.Thread(target=watch, daemon=True).start()
    while True:
        yield jobs.get()


if __name__ == "__main__":
    worker_main(sys.argv[1])
