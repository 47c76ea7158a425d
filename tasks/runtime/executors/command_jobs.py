"""Jobs through a command that returns when the job is over (`hardware.launch_command`), such as `sbatch --wait`."""

from __future__ import annotations

import os
import shlex
import subprocess

from tasks.runtime.executors.executor import JobState, NodeJob
from tasks.runtime.job_answers import LaunchFailed
from tasks.runtime.workers import stop_group


class CommandExecutor:
    """Starts one process per job; ids are those of the processes."""

    name = "command"
    poll_seconds = 0.2
    pauses: tuple[float, ...] = (2.0, 8.0, 30.0)

    def __init__(self, launch_command: str) -> None:
        """Starts nothing.

        Args:
            launch_command: prefix of every launch; may use {nodes}, {gpus}, {gpus_per_node} and {run}.
        """
        self._launch_command = launch_command
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def command(self, job: NodeJob) -> list[str]:
        """The whole command of a job."""
        gpus = {"gpus": job.num_nodes * job.gpus_per_node, "gpus_per_node": job.gpus_per_node}
        prefix = self._launch_command.format(nodes=job.num_nodes, run=job.name, **gpus)
        return [*shlex.split(prefix), *job.command, str(job.job_file)]

    def submit(self, job: NodeJob) -> str:
        """Starts the command."""
        with (job.job_file.parent / "output.log").open("ab") as out:
            try:
                process = subprocess.Popen(
                    self.command(job),
                    env=os.environ | job.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=out,
                    start_new_session=True,
                )
            except OSError as error:
                raise LaunchFailed(f"hardware.launch_command did not start: {error}") from error
        self._processes[str(process.pid)] = process
        return str(process.pid)

    def state(self, job_id: str) -> JobState:
        """Running as long as the command does."""
        process = self._processes.get(job_id)
        if process is None:
            return JobState("ended", "no process of this program")
        return JobState("running") if process.poll() is None else JobState("ended", f"status {process.returncode}")

    def cancel(self, job_id: str) -> None:
        """Ends the command with all its children."""
        process = self._processes.get(job_id)
        if process is not None and process.poll() is None:
            stop_group(process)

    def close(self) -> None:
        """Nothing is held."""
