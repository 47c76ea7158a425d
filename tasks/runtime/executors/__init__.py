"""Where a stage's jobs run when not on this machine: `open_executor` chooses by `hardware.executor`."""

from __future__ import annotations

from tasks.runtime.executors.executor import Executor, JobState, NodeJob, WorkOrder
from tasks.study.params import Hardware

__all__ = ["Executor", "JobState", "NodeJob", "WorkOrder", "open_executor"]


def open_executor(hardware: Hardware, stage: str) -> Executor | None:
    """The executor of a stage's jobs; None: workers on this machine.

    `hardware.launch_command`, which came before the executors, starts training only.

    Raises:
        InputError: the executor is not to be had from here.
    """
    if hardware.executor == "slurm":
        from tasks.runtime.executors.slurm_jobs import SlurmExecutor

        return SlurmExecutor(hardware.slurm_options)
    if hardware.executor == "ray":
        from tasks.runtime.executors.ray_jobs import RayExecutor

        return RayExecutor()
    if hardware.launch_command is not None and stage == "train":
        from tasks.runtime.executors.command_jobs import CommandExecutor

        return CommandExecutor(hardware.launch_command)
    return None
