"""The launches of a work unit on a cluster: `launches/NNNN/` in its folder, each with its job file, answers, output and
state."""

from __future__ import annotations

import contextlib
import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tasks.runtime.executors.executor import NodeJob, WorkOrder
from tasks.runtime.job_files import STATE_FILE
from tasks.study.params import Hardware

LAUNCHES = "launches"
NOTICE_SECONDS = 300
"""Beyond `hardware.grace_seconds`: what a job is told of its time limit ahead."""


@dataclass(frozen=True)
class Launch:
    """The newest launch of a work unit.

    Attributes:
        executor: slurm, ray or command.
        job_id: as the executor names it.
        kind: queued, running or ended.
        detail: the executor's own word for it, e.g. PENDING (Resources).
        hosts: machines, where known.
        since: when that was first seen, ISO 8601 in UTC.
    """

    executor: str
    job_id: str
    kind: str
    detail: str
    hosts: str
    since: str


def read_launch(folder: Path) -> Launch | None:
    """The newest launch of the work unit in a folder, None where it has none that a queue took."""
    newest = newest_launch_folder(folder)
    return None if newest is None else Launch(**json.loads((newest / STATE_FILE).read_text(encoding="utf-8")))


def newest_launch_folder(folder: Path) -> Path | None:
    """Folder of the newest launch of a work unit that a queue took."""
    return max((path.parent for path in (folder / LAUNCHES).glob(f"*/{STATE_FILE}")), default=None)


def new_launch_folder(folder: Path) -> Path:
    """A new numbered folder below `folder`/launches."""
    for number in itertools.count(1):
        with contextlib.suppress(FileExistsError):
            path = folder / LAUNCHES / f"{number:04d}"
            path.mkdir(parents=True)
            return path
    raise AssertionError("unreachable")


def node_job(hardware: Hardware, order: WorkOrder, environment: Mapping[str, str]) -> NodeJob:
    """A work unit's next launch: its folder, and what each node runs."""
    per_node = order.num_processes // order.num_nodes
    command = [hardware.python or sys.executable, "-m", "tasks.runtime.cluster_node"]
    if order.config is not None:
        command += ["--config", str(order.config)]
    command += ["--processes", str(order.num_processes), "--nodes", str(order.num_nodes)]
    command += ["--threads", str(hardware.threads_per_worker), "--grace", str(hardware.grace_seconds)]
    gpus_per_node = order.num_gpus // order.num_nodes
    return NodeJob(
        name=order.name,
        command=tuple(command),
        job_file=new_launch_folder(order.folder) / "job.json",
        num_nodes=order.num_nodes,
        gpus_per_node=gpus_per_node,
        cores_per_node=hardware.threads_per_worker * per_node,
        whole_nodes=0 < hardware.gpus_per_node == gpus_per_node,
        environment=environment,
        notice_seconds=int(hardware.grace_seconds) + NOTICE_SECONDS,
    )
