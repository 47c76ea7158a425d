"""Worker processes that import the heavy libraries once and do many jobs, one after another.

A job names a function (`package.module:function`) and its keyword arguments as JSON values. Parent and worker talk
over a local socket, so a worker may be started by any launcher (`accelerate launch`, another interpreter) that keeps
neither pipes nor descriptors. Why not `concurrent.futures`: its workers cannot be started through a launcher, and one
that is killed breaks the whole pool.

A worker whose parent vanishes, however it vanishes, stops at once; a worker that dies raises `WorkerDied` for its own
job only and is replaced.

Where parent and worker share no machine the job and its answer are files: `tasks.runtime.job_files`.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing import reduction
from multiprocessing.connection import Client, Connection, Listener, wait
from pathlib import Path
from typing import Any, cast

from tasks.runtime.prefect_options import TransientError
from tasks.study.errors import InputError

START_SECONDS = 180.0
"""A worker that has not called back by then is aborted."""


class WorkerDied(TransientError):
    """The worker process ended without an answer; the job may be tried again."""


class WorkCancelled(RuntimeError):
    """The workers were ended while the job ran or waited; it is not to be tried again."""


class LaunchFailed(WorkerDied):
    """The worker process did not start; its log says why."""


class JobFailed(RuntimeError):
    """The job raised; the message is the worker's traceback."""


class OutOfMemory(JobFailed):
    """The job ran out of the device's memory, or of the host's."""


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
        self._ended = False

    def run(self, task_path: str, arguments: Mapping[str, Any]) -> Any:
        """Does one job and returns its JSON-able result.

        Raises:
            InputError: the job found bad input.
            JobFailed: the job raised.
            OutOfMemory: it ran out of memory; the worker is replaced.
            LaunchFailed: the process did not start.
            WorkerDied: the process ended.
            WorkCancelled: `end` was called, now or before.
        """
        if self._ended:
            raise WorkCancelled(f"stopped before {task_path} began")
        if not self._connections:
            self._start()
        try:
            for connection in self._connections:
                connection.send((task_path, dict(arguments)))
            kind, value = self._answers()
        except (EOFError, OSError) as error:
            self.close()
            if self._ended:
                raise WorkCancelled(f"stopped while doing {task_path}") from None
            raise WorkerDied(f"the worker doing {task_path} ended without an answer") from error
        if kind == "memory" or (kind != "done" and self._num_processes > 1):
            self.close()  # its memory may be fragmented, and other ranks may wait for the failed one forever
        return unwrap_answer(kind, value)

    def _answers(self) -> tuple[str, Any]:
        """Waits for every rank; returns at once with the first failure."""
        answers: dict[int, tuple[str, Any]] = {}
        waiting = list(self._connections)
        while waiting:
            for connection in cast("list[Connection]", wait(waiting)):
                rank, kind, value = connection.recv()
                if kind != "done":
                    return kind, value
                answers[rank] = (kind, value)
                waiting.remove(connection)
        return answers[0]

    def _start(self) -> None:
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
            self._process = subprocess.Popen(
                [*self._command, "tasks.runtime.workers", address],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                pass_fds=self._pass_fds,
            )
            self._connections = [_accept(listener, self._process) for _ in range(self._num_processes)]
        for connection in self._connections:
            connection.send(len(self._pass_fds))
            for lock_fd in self._pass_fds:
                reduction.send_handle(connection, lock_fd, self._process.pid)

    def close(self) -> None:
        """Ends the process and everything it started; the next job starts it again."""
        process, self._process = self._process, None
        if process is not None:
            stop_group(process)  # first, so that a thread that waits for an answer sees its connection end
        connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()

    def end(self) -> None:
        """Ends the process permanently; a job that another thread waits for raises `WorkCancelled`."""
        self._ended = True
        self.close()


def unwrap_answer(kind: str, value: Any) -> Any:
    """A worker's answer as a value or an exception. Raises as `Worker.run`."""
    if kind == "done":
        return value
    raise {"input": InputError, "memory": OutOfMemory, "failed": JobFailed}[kind](value)


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
    """Yields jobs, while a thread watches the connection so that a vanished parent ends the process at once."""
    jobs: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()

    def watch() -> None:
        while True:
            try:
                jobs.put(connection.recv())
            except (EOFError, OSError):
                os.killpg(0, signal.SIGKILL)  # the group is the worker's own session: launcher, ranks and all

    threading.Thread(target=watch, daemon=True).start()
    while True:
        yield jobs.get()


def answer_job(function: str, arguments: dict[str, Any]) -> tuple[str, Any]:
    """Does a job in this process; returns `done` and its result, or `input`, `memory` or `failed` and a text."""
    import traceback

    module, name = function.split(":")
    try:
        return "done", getattr(importlib.import_module(module), name)(**arguments)
    except InputError as error:
        return "input", str(error)
    except Exception as error:
        # The boundary of the process: whatever a job raises becomes the parent's JobFailed, traceback included.
        return "memory" if _is_memory(error) else "failed", traceback.format_exc()


def _is_memory(error: Exception) -> bool:
    """Whether memory ran out; torch's own error is looked for only where the job has imported it."""
    torch = sys.modules.get("torch")
    return isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError))


if __name__ == "__main__":
    worker_main(sys.argv[1])
