"""Jobs on Slurm: `sbatch --parsable`, `squeue` for all jobs at once, `scancel`; no accounting is needed.

The controller may be away for a while: a submission that gets no answer within a minute is a failed launch, and a
question without an answer is asked again later. A job that `squeue` does not list any more has ended.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tasks.runtime.executors.executor import JobState, NodeJob
from tasks.runtime.job_answers import LaunchFailed
from tasks.study.errors import InputError

log = logging.getLogger(__name__)

SCRIPT = Path(__file__).parents[3] / "infra" / "slurm" / "job.sbatch"
ANSWER_SECONDS = 60.0
"""How long Slurm's commands may take."""
QUEUED = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SUSPENDED", "SPECIAL_EXIT"})
RUNNING = frozenset({"RUNNING", "COMPLETING", "STAGE_OUT", "SIGNALING", "RESIZING", "STOPPED"})


class SlurmExecutor:
    """Jobs of this user on the cluster that the `sbatch` of this machine speaks to."""

    name = "slurm"
    poll_seconds = 5.0
    pauses: tuple[float, ...] = (5.0, 20.0, 60.0, 180.0, 300.0)

    def __init__(self, options: Sequence[str] = ()) -> None:
        """Asks nothing yet.

        Args:
            options: of every `sbatch`, after and thus above this program's own.

        Raises:
            InputError: this machine has no `sbatch`.
        """
        if shutil.which("sbatch") is None:
            raise InputError("hardware.executor slurm: sbatch is not a command here; start the study on a login node")
        self._options = tuple(options)
        self._lock = threading.Lock()
        self._asked = 0.0
        self._listed: dict[str, JobState] = {}

    def submit(self, job: NodeJob) -> str:
        """Submits a batch job. Raises `LaunchFailed` where Slurm refuses it or does not answer."""
        command = [*sbatch_command(job, self._options), str(SCRIPT), *job.command, str(job.job_file)]
        done = _ask(command, job.environment)
        if done.returncode:
            raise LaunchFailed(f"sbatch: {done.stderr.strip() or f'exit status {done.returncode}'}")
        job_id = done.stdout.strip().partition(";")[0]  # id;cluster
        with self._lock:
            self._listed[job_id] = JobState("queued", "submitted")
        return job_id

    def state(self, job_id: str) -> JobState:
        """As `squeue` said within the last `poll_seconds`."""
        with self._lock:
            if time.monotonic() > self._asked + self.poll_seconds:
                self._ask_queue()
            return self._listed.get(job_id, JobState("ended", "not in the queue"))

    def _ask_queue(self) -> None:
        """Reads the queue; where there is no answer, what was known stays."""
        done = _ask(["squeue", "--me", "--states=all", "--noheader", "--format=%i|%T|%N|%r"])
        self._asked = time.monotonic()
        if done.returncode:
            log.warning("squeue: %s; asking again", done.stderr.strip())
            return
        rows = [line.split("|", 3) for line in done.stdout.splitlines()]
        self._listed = {job_id: _state(word, hosts, reason) for job_id, word, hosts, reason in rows}

    def cancel(self, job_id: str) -> None:
        """Cancels a job."""
        done = _ask(["scancel", job_id])
        if done.returncode:
            log.warning("scancel %s: %s; it may still hold its nodes", job_id, done.stderr.strip())

    def close(self) -> None:
        """Nothing is held."""


def sbatch_command(job: NodeJob, options: Sequence[str] = ()) -> list[str]:
    """`sbatch` with the options of a job, short of the script."""
    command = ["sbatch", "--parsable", "--no-requeue", f"--job-name={job.name}", f"--nodes={job.num_nodes}"]
    command += ["--ntasks-per-node=1", f"--cpus-per-task={job.cores_per_node}"]
    command += [f"--output={job.job_file.parent / 'output.log'}", "--open-mode=append"]
    if job.gpus_per_node:
        command.append(f"--gpus-per-node={job.gpus_per_node}")
    if job.whole_nodes:
        command += ["--exclusive", "--mem=0"]
    if job.notice_seconds:
        command.append(f"--signal=USR1@{job.notice_seconds}")
    return [*command, *options]


def _state(word: str, hosts: str, reason: str) -> JobState:
    detail = f"{word} ({reason})" if reason not in ("None", "") else word
    return JobState("queued" if word in QUEUED else "running" if word in RUNNING else "ended", detail, hosts)


def _ask(
    command: Sequence[str], environment: Mapping[str, str] = MappingProxyType({})
) -> subprocess.CompletedProcess[str]:
    """Asks Slurm; no answer in time reads as a failure that says so."""
    try:
        return subprocess.run(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {ANSWER_SECONDS:.0f} s")
