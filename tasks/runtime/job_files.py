"""Jobs that travel as files, where parent and worker share no machine (`hardware.launch_command`, a batch system).

A launch owns a folder that all machines see. The parent writes `job.json` and starts a command that runs `python -m
tasks.runtime.job_files .../job.json` on every process; each leaves `answer-<rank>.json`, and the command ends. A file
`stop` in the folder asks the job to save its work and stop, which also reaches a job whose command has been lost.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.runtime.job_answers import (
    Answer,
    WorkCancelled,
    WorkerDied,
    answer_job,
    decisive_answer,
    unwrap_answer,
)
from tasks.runtime.stop_request import STOP_FILE_VARIABLE, STOPPED_EXIT_CODE
from tasks.runtime.workers import SETTLE_SECONDS, stop_group
from tasks.study.manifests import write_json

STOP_FILE = "stop"
NOTICE_SECONDS = 5.0
"""How long answers may take to show on this machine after the command has ended: network file systems lag."""


class JobFileLaunch:
    """One launch of one job through a command that returns when the job is over, such as `sbatch --wait`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        """Prepares a launch.

        Args:
            command: started with the path of the job file as its last argument.
            environment: variables set besides this process's own.
            folder: a folder of this launch alone, visible to all machines; takes the job, its answers and the output.
        """
        self._command = list(command)
        self._environment = dict(environment)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._ended = False

    def run(self, task_path: str, arguments: Mapping[str, Any]) -> Any:
        """Does the job; returns the answer of rank 0.

        Raises:
            As `tasks.runtime.workers.Worker.run`; WorkerDied where the command ended and rank 0 left no answer.
        """
        job = self._folder / "job.json"
        write_json(job, {"function": task_path, "arguments": dict(arguments)})
        with (self._folder / "output.log").open("ab") as out:
            with self._lock:
                if self._ended:
                    raise WorkCancelled(f"stopped before {task_path} began")
                self._process = process = subprocess.Popen(
                    [*self._command, str(job)],
                    env=os.environ | self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
            status = process.wait()
        answers = self._answers(NOTICE_SECONDS if status == 0 else 0.0)
        if 0 not in answers and all(kind == "done" for kind, _ in answers.values()):
            self._ask_by_file()  # the command may be lost and the job go on
            if self._ended:
                raise WorkCancelled(f"stopped while doing {task_path}")
            raise WorkerDied(f"the launch ended with status {status} and no answer; see {self._folder / 'output.log'}")
        return unwrap_answer(decisive_answer(answers))

    def _answers(self, patience_s: float) -> dict[int, Answer]:
        """What the ranks left; waits for rank 0's for so long."""
        deadline = time.monotonic() + patience_s
        while not (self._folder / answer_name(0)).exists() and time.monotonic() < deadline:
            time.sleep(0.2)
        read = [json.loads(path.read_text(encoding="utf-8")) for path in self._folder.glob("answer-*.json")]
        return {answer["rank"]: (answer["kind"], answer["value"]) for answer in read}

    def ask_stop(self) -> None:
        """Asks the job to save its work and stop."""
        with self._lock:
            self._ended = True
        self._ask_by_file()

    def _ask_by_file(self) -> None:
        (self._folder / STOP_FILE).touch()

    def close(self) -> None:
        """Ends the command; a job that goes on elsewhere stops at its next step."""
        with self._lock:
            process, self._process = self._process, None
        if process is not None and process.poll() is None:
            self._ask_by_file()
            stop_group(process)

    def end(self) -> None:
        """Ends the command permanently; a thread that waits for the job raises `WorkCancelled`."""
        with self._lock:
            self._ended = True
        self.close()


def answer_name(rank: int) -> str:
    """File name of a rank's answer."""
    return f"answer-{rank:05d}.json"


def do_job_file(path: Path) -> int:
    """One process's part of a job that came as a file; leaves its answer beside it and returns the exit status."""
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
