"""Jobs that travel as files, where parent and worker share no machine (`hardware.launch_command`, a batch system).

`run_job_file` writes `job.json`, starts a command that runs `python -m tasks.runtime.job_files .../job.json` on every
process, and reads `answer-<rank>.json` when the command has ended. Not covered: a killed parent leaves the batch job
running.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tasks.runtime.workers import WorkCancelled, WorkerDied, answer_job, stop_group, unwrap_answer
from tasks.study.manifests import write_json


def run_job_file(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    job: tuple[str, Mapping[str, Any]],
    stop: threading.Event,
) -> Any:
    """Does one job through a command that returns when the job is over, such as `sbatch --wait`.

    Args:
        command: started with the path of the job file as its last argument.
        environment: variables set besides this process's own.
        folder: a folder of this launch alone, visible to all machines; takes the job, its answers and the output.
        job: `package.module:function` and its keyword arguments, JSON values.
        stop: when set, the command is ended and `WorkCancelled` raised.

    Returns:
        The answer of rank 0.

    Raises:
        As `Worker.run`; WorkerDied where the command ended and rank 0 left no answer.
    """
    write_json(folder / "job.json", {"function": job[0], "arguments": dict(job[1])})
    with (folder / "output.log").open("ab") as out:
        process = subprocess.Popen(
            [*command, str(folder / "job.json")],
            env=os.environ | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        while process.poll() is None:
            if stop.wait(0.2):
                stop_group(process)
                raise WorkCancelled(f"stopped while doing {job[0]}")
    answers = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("answer-*.json"))]
    for answer in sorted(answers, key=lambda answer: (answer["kind"] == "done", answer["rank"])):
        if answer["kind"] != "done" or answer["rank"] == 0:
            return unwrap_answer(answer["kind"], answer["value"])
    raise WorkerDied(f"the launch ended with status {process.returncode} and no answer; see {folder / 'output.log'}")


def do_job_file(path: Path) -> None:
    """One process's part of a job that came as a file; leaves its answer beside it and exits 1 on failure."""
    job = json.loads(path.read_text(encoding="utf-8"))
    rank = int(os.environ.get("RANK", "0"))
    kind, value = answer_job(job["function"], job["arguments"])
    write_json(path.parent / f"answer-{rank:05d}.json", {"rank": rank, "kind": kind, "value": value})
    if kind != "done":
        sys.exit(1)  # the launcher ends the other processes


if __name__ == "__main__":
    do_job_file(Path(sys.argv[1]))
