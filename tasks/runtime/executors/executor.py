"""What an executor is: it places a job on machines that this process does not run on, watches and cancels it.

A job is always the same: one program per node (`tasks.runtime.cluster_node`), started with the path of a job file that
all machines see (`tasks.runtime.job_files`), which leaves its answers beside that file. Executors differ in how the
program gets there: `command_jobs` (any command that waits), `slurm_jobs`, `ray_jobs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol


@dataclass(frozen=True)
class WorkOrder:
    """What a work unit needs to run.

    Attributes:
        name: of the job, as a queue shows it.
        folder: the work unit's; on a cluster each launch gets `launches/NNNN/` below it.
        num_processes: processes in all.
        num_nodes: machines they run on, equally many on each.
        num_gpus: GPUs in all; 0: none.
        config: accelerate config; None: one process without accelerate.
        environment: variables set besides this process's own; None: `thread_environment`.
    """

    name: str
    folder: Path
    num_processes: int = 1
    num_nodes: int = 1
    num_gpus: int = 0
    config: Path | None = None
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class NodeJob:
    """A job as an executor gets it.

    Attributes:
        name: as a queue shows it.
        command: run once per node.
        job_file: in a folder of this launch alone, which takes the job's output too.
        num_nodes: machines.
        gpus_per_node: 0: none.
        cores_per_node: processor cores.
        whole_nodes: whether nothing else should run on them.
        environment: variables set besides this process's own.
        notice_seconds: how long before a time limit the job should be asked to stop.
    """

    name: str
    command: tuple[str, ...]
    job_file: Path
    num_nodes: int = 1
    gpus_per_node: int = 0
    cores_per_node: int = 1
    whole_nodes: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    notice_seconds: int = 0


@dataclass(frozen=True)
class JobState:
    """Where a job is.

    Attributes:
        kind: queued, running or ended.
        detail: the executor's own word: PENDING (Resources), status 1, TIMEOUT.
        hosts: machines it runs on, where known.
    """

    kind: Literal["queued", "running", "ended"]
    detail: str = ""
    hosts: str = ""


class Executor(Protocol):
    """Starts jobs elsewhere. Threads share it."""

    name: str
    poll_seconds: float
    pauses: tuple[float, ...]
    """Seconds before a job whose launch failed, or that was lost, is tried again."""

    def submit(self, job: NodeJob) -> str:
        """Hands a job over and returns its id, without waiting for it to start. Raises `LaunchFailed`."""
        ...

    def state(self, job_id: str) -> JobState:
        """Where a job is; one that nobody knows has ended."""
        ...

    def cancel(self, job_id: str) -> None:
        """Ends a job at once, queued or running; does nothing for one that has ended."""
        ...

    def close(self) -> None:
        """Lets go of the cluster."""
        ...
