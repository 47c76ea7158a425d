"""When the runs of a study train on a cluster of so many GPUs: list scheduling, longest run first.

A run starts as soon as it is the first in the list that fits the free GPUs and `hardware.workers` allows one more. That
is what a queue with backfilling does with `rlscale study`, which hands runs over longest first. The disk holds what
runs keep when they are done and, for those in flight, what they hold at most.

Not covered: GPUs that are free but on different nodes, start-up, waiting for the cluster's other users, failures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.costs.disk import run_disk
from tasks.costs.grid_cost import GridCost
from tasks.study.errors import InputError
from tasks.study.grid import expand_grid
from tasks.study.params import Params


@dataclass(frozen=True)
class Work:
    """A run to be scheduled: hours on its GPUs, bytes on disk while it runs and when it is done."""

    name: str
    gpus: int
    hours: float
    disk: float = 0.0
    kept: float = 0.0


@dataclass(frozen=True)
class ScheduledRun:
    """When a run trains, hours from the study's beginning."""

    name: str
    gpus: int
    start: float
    end: float


@dataclass(frozen=True)
class Schedule:
    """A study on a cluster.

    Attributes:
        gpus: of the cluster.
        runs: in the order in which they start.
        hours: from the first start to the last end.
        gpu_hours: of the runs.
        disk: bytes at the fullest moment.
        kept: bytes when all is done.
    """

    gpus: int
    runs: list[ScheduledRun]
    hours: float
    gpu_hours: float
    disk: float
    kept: float

    @property
    def used(self) -> float:
        """Part of the cluster's GPU-hours that runs use."""
        return self.gpu_hours / (self.gpus * self.hours)

    def sentences(self) -> list[str]:
        """What it comes to, in sentences."""
        return [
            f"on {self.gpus} GPUs the {len(self.runs)} runs take {self.hours:,.3g} h ({self.gpu_hours:,.4g} GPU-h, "
            f"{self.used:.0%} of the GPUs used), longest run first",
            f"disk: {self.disk / 1e12:,.3g} TB at the fullest moment, {self.kept / 1e12:,.3g} TB when all is done",
        ]


def schedule_study(params: Params, costs: GridCost, gpus: int) -> Schedule:
    """Schedules a study's runs.

    Args:
        params: the study.
        costs: of its runs.
        gpus: of the cluster.

    Raises:
        InputError: a run needs more GPUs.
    """
    disks = {run.run_id: run_disk(params, run) for run in expand_grid(params)}
    work = [
        Work(row.run_id, row.cost.gpus, row.cost.hours, disks[row.run_id].peak, disks[row.run_id].kept)
        for row in costs.runs
    ]
    return schedule(work, gpus, params.hardware.workers)


def schedule(work: Sequence[Work], gpus: int, workers: int | None = None) -> Schedule:
    """Schedules runs; `workers` is how many train side by side at most. Raises as `schedule_study`."""
    for one in work:
        if one.gpus > gpus:
            raise InputError(f"--gpus {gpus}: run {one.name} needs {one.gpus} GPUs")
    waiting = sorted(work, key=lambda one: -one.hours)
    running: list[tuple[float, Work]] = []
    done: list[ScheduledRun] = []
    now = kept = most = 0.0
    while waiting or running:
        for one in list(waiting):
            free = gpus - sum(other.gpus for _, other in running)
            if one.gpus <= free and (workers is None or len(running) < workers):
                waiting.remove(one)
                running.append((now + one.hours, one))
                done.append(ScheduledRun(one.name, one.gpus, now, now + one.hours))
        most = max(most, kept + sum(one.disk for _, one in running))
        now = min(end for end, _ in running)
        kept += sum(one.kept for end, one in running if end <= now)
        running = [(end, one) for end, one in running if end > now]
    return Schedule(gpus, done, now, sum(one.gpus * one.hours for one in work), max(most, kept), kept)
