"""Jobs that travel as files, where parent and worker share no machine (`tasks.runtime.executors`).

A launch owns a folder that all machines see. The parent writes `job.json` and hands an executor a command that runs
`python -m tasks.runtime.job_files .../job.json` on every process; each leaves `answer-<rank>.json`, and the command
ends. `state.json` says where the job is. A file `stop` in the folder asks the job to save its work and stop, which also
reaches a job that the executor has lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.runtime.executors.executor import Executor, JobState, NodeJob
from tasks.runtime.job_answers import (
    Answer,
    LaunchFailed,
    WorkCancelled,
    WorkerDied,
    answer_job,
    decisive_answer,
    unwrap_answer,
)
from tasks.runtime.stop_request import STOP_FILE_VARIABLE, STOPPED_EXIT_CODE, end_with_parent
from tasks.runtime.workers import SETTLE_SECONDS
from tasks.study.manifests import write_json

STOP_FILE = "stop"
STATE_FILE = "state.json"
CLEAN_ENDS = frozenset({"status 0", "COMPLETED", "not in the queue"})
"""Ends of a job, as executors word them, after which an answer is to be expected."""
NOTICE_SECONDS = 5.0
"""How long answers may take to show on this machine after the command has ended: network file systems lag."""


class JobFileLaunch:
    """One launch of one job through an executor."""

    def __init__(self, executor: Executor, job: NodeJob, earlier: Path | None = None) -> None:
        """Prepares a launch.

        Args:
            executor: where the job goes.
            job: the job; the folder of its file belongs to this launch alone and is seen by all machines.
            earlier: folder of the launch before, whose job may still be queued or run because the process that
                watched it was killed. The same job is taken over, another one cancelled first.
        """
        self._executor, self._job, self._earlier = executor, job, earlier
        self._folder = job.job_file.parent
        self._id: str | None = None
        self._state = JobState("queued")
        self._lock = threading.Lock()
        self._ended = False

    def run(self, task_path: str, arguments: Mapping[str, Any]) -> Any:
        """Does the job; returns the answer of rank 0.

        Raises:
            As `tasks.runtime.workers.Worker.run`; WorkerDied where the job ended and rank 0 left no answer.
        """
        content = {"function": task_path, "arguments": dict(arguments)}
        if not self._take_over(content):
            write_json(self._job.job_file, content)
            self._submit(task_path)
        assert self._id is not None
        while self._state.kind != "ended":
            time.sleep(self._executor.poll_seconds)
            self._note(self._executor.state(self._id))
        answers = self._answers(NOTICE_SECONDS if self._state.detail in CLEAN_ENDS else 0.0)
        if 0 not in answers and all(kind == "done" for kind, _ in answers.values()):
            self._ask_by_file()  # the executor may have lost sight of it, and the job go on
            if self._ended:
                raise WorkCancelled(f"stopped while doing {task_path}")
            log_file = self._folder / "output.log"
            raise WorkerDied(f"the launch ended with {self._state.detail} and no answer; see {log_file}")
        return unwrap_answer(decisive_answer(answers))

    def _submit(self, task_path: str) -> None:
        with self._lock:
            if self._ended:
                raise WorkCancelled(f"stopped before {task_path} began")
            try:
                self._id = self._executor.submit(self._job)
            except LaunchFailed:
                self._ask_by_file()  # it may have been taken all the same
                raise
        self._note(JobState("queued", "submitted"))

    def _take_over(self, content: Mapping[str, Any]) -> bool:
        """Whether the launch before is this very job and still under way; another job under way is cancelled."""
        if self._earlier is None or not (self._earlier / STATE_FILE).exists():
            return False
        state = json.loads((self._earlier / STATE_FILE).read_text(encoding="utf-8"))
        if state["executor"] != self._executor.name or self._executor.state(state["job_id"]).kind == "ended":
            return False
        written = json.loads((self._earlier / self._job.job_file.name).read_text(encoding="utf-8"))
        if written != content or (self._earlier / STOP_FILE).exists():
            (self._earlier / STOP_FILE).touch()
            self._executor.cancel(state["job_id"])
            return False
        self._folder.rmdir()
        with self._lock:
            self._folder, self._id = self._earlier, state["job_id"]
        return True

    def _note(self, state: JobState) -> None:
        """Writes down what changed, for `tasks.runtime.launches.read_launch`."""
        if state != self._state or not (self._folder / STATE_FILE).exists():
            since = datetime.now(UTC).isoformat(timespec="seconds")
            facts = {"executor": self._executor.name, "job_id": self._id, **asdict(state), "since": since}
            write_json(self._folder / STATE_FILE, facts)
            self._state = state

    def _answers(self, patience_s: float) -> dict[int, Answer]:
        """What the ranks left; waits for rank 0's for so long."""
        deadline = time.monotonic() + patience_s
        while not (self._folder / answer_name(0)).exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        read = [json.loads(path.read_text(encoding="utf-8")) for path in self._folder.glob("answer-*.json")]
        return {answer["rank"]: (answer["kind"], answer["value"]) for answer in read}

    def ask_stop(self) -> None:
        """Asks the job to save its work and stop; one that has not begun is cancelled."""
        with self._lock:
            self._ended = True
        self._ask_by_file()
        if self._id is not None and self._state.kind == "queued":
            self._executor.cancel(self._id)

    def _ask_by_file(self) -> None:
        (self._folder / STOP_FILE).touch()

    def close(self) -> None:
        """Cancels the job; where no signal reaches it, it stops at its next step."""
        with self._lock:
            job_id = self._id
        if job_id is not None and self._state.kind != "ended":
            self._ask_by_file()
            self._executor.cancel(job_id)

    def end(self) -> None:
        """Cancels the job permanently; a thread that waits for it raises `WorkCancelled`."""
        with self._lock:
            self._ended = True
        self.close()


def answer_name(rank: int) -> str:
    """File name of a rank's answer."""
    return f"answer-{rank:05d}.json"


def do_job_file(path: Path) -> int:
    """One process's part of a job that came as a file; leaves its answer beside it and returns the exit status."""
    end_with_parent()
    job = json.loads(path.read_text(encoding="utf-8"))
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    os.environ[STOP_FILE_VARIABLE] = str(path.parent / STOP_FILE)
    answer = answer_job(job["function"], job["arguments"])
    if answer[0] == "failed" and world_size > 1 and _ended_meanwhile():
        answer = ("lost", answer[1])
    write_json(path.parent / answer_name(rank), {"rank": rank, "kind": answer[0], "value": answer[1]})
    return {"done": 0, "stopped": STOPPED_EXIT_CODE}.get(answer[0], 1)  # the launcher ends the other processes


def _ended_meanwhile() -> bool:
    """Whether the launcher ends this process within a moment: then another one died first, and that is the cause."""
    ended = threading.Event()
    with contextlib.suppress(ValueError):  # handlers belong to the main thread, where jobs run
        signal.signal(signal.SIGTERM, lambda *_: ended.set())
    return ended.wait(SETTLE_SECONDS)


if __name__ == "__main__":
    sys.exit(do_job_file(Path(sys.argv[1])))
