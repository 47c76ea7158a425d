"""Jobs on a Ray cluster that is there already (`RAY_ADDRESS`): a placement group per job, one Ray task per node.

A job of one node is packed onto it; the nodes of a larger one are distinct (STRICT_SPREAD), each with the job's GPUs
per node and cores. The task runs the node's program as a process of its own and sets NODE_RANK, MASTER_ADDR and
MASTER_PORT for it, as the batch script does under Slurm; Ray itself sets CUDA_VISIBLE_DEVICES. Jobs end with the
process that ordered them.

Ray retries nothing here: a job whose node is lost has ended, and the launcher orders it again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from tasks.runtime.executors.executor import JobState, NodeJob
from tasks.runtime.job_answers import LaunchFailed
from tasks.runtime.workers import stop_group
from tasks.study.errors import InputError

ADDRESS_VARIABLE = "RAY_ADDRESS"


class RayExecutor:
    """Jobs of this process on the cluster."""

    name = "ray"
    poll_seconds = 0.5
    pauses: tuple[float, ...] = (2.0, 8.0, 30.0, 60.0)

    def __init__(self) -> None:
        """Joins the cluster.

        Raises:
            InputError: Ray is not installed, RAY_ADDRESS is not set, or nothing answers there.
        """
        address = os.environ.get(ADDRESS_VARIABLE)
        if not address:
            raise InputError(f"hardware.executor ray: set {ADDRESS_VARIABLE} to the address of a Ray cluster")
        try:
            import ray
        except ModuleNotFoundError:
            raise InputError("hardware.executor ray needs Ray: pip install 'rlscale[ray]'") from None
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, TimeoutError, ValueError) as error:
                raise InputError(f"{ADDRESS_VARIABLE} {address}: no Ray cluster answers ({error})") from None
        self._jobs: dict[str, tuple[Any, list[Any]]] = {}

    def submit(self, job: NodeJob) -> str:
        """Asks for the job's place; its tasks start when there is room."""
        import ray
        from ray.util.placement_group import placement_group
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        bundle = {"CPU": float(job.cores_per_node)} | ({"GPU": float(job.gpus_per_node)} if job.gpus_per_node else {})
        strategy = "STRICT_SPREAD" if job.num_nodes > 1 else "STRICT_PACK"
        try:
            group = placement_group([bundle] * job.num_nodes, strategy=strategy, name=str(job.job_file.parent))
            places = [PlacementGroupSchedulingStrategy(group, node) for node in range(job.num_nodes)]
            finder = ray.remote(find_address).options(num_cpus=0, max_retries=0, scheduling_strategy=places[0])
            address, runner = finder.remote(), ray.remote(run_program)
            resources = {"num_cpus": job.cores_per_node, "num_gpus": job.gpus_per_node, "max_retries": 0}
            arguments = ([*job.command, str(job.job_file)], dict(job.environment), str(Path.cwd()))
            runs = [
                runner.options(name=job.name, scheduling_strategy=place, **resources).remote(address, node, *arguments)
                for node, place in enumerate(places)
            ]
        except ray.exceptions.RayError as error:
            raise LaunchFailed(f"Ray: {error}") from error
        self._jobs[group.id.hex()] = (group, runs)
        return str(group.id.hex())

    def state(self, job_id: str) -> JobState:
        """Queued until the placement group is there; ended with the first node that fails, or with all."""
        import ray
        from ray.util import placement_group_table

        if job_id not in self._jobs:
            return JobState("ended", "no job of this process")
        group, runs = self._jobs[job_id]
        done, waiting = ray.wait(runs, num_returns=len(runs), timeout=0)
        statuses = []
        for run in done:
            try:
                statuses.append(f"status {ray.get(run)}")
            except ray.exceptions.RayError as error:
                statuses.append(f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")
        failed = [status for status in statuses if status != "status 0"]
        if failed or not waiting:
            self._release(job_id)
            return JobState("ended", (failed or statuses)[0])
        placed = placement_group_table(group)["state"] == "CREATED"
        return JobState("running" if placed else "queued", "placed" if placed else "waits for room")

    def cancel(self, job_id: str) -> None:
        """Interrupts the job's tasks, which end their programs, and gives its place back."""
        if job_id in self._jobs:
            self._release(job_id)

    def _release(self, job_id: str) -> None:
        import ray
        from ray.util.placement_group import remove_placement_group

        group, runs = self._jobs.pop(job_id)
        for run in runs:
            with contextlib.suppress(ray.exceptions.RayError):
                ray.cancel(run, force=False)
        ray.wait(runs, num_returns=len(runs), timeout=10.0)
        remove_placement_group(group)

    def close(self) -> None:
        """Leaves the cluster, which ends whatever runs for this process."""
        import ray

        ray.shutdown()


def find_address() -> tuple[str, int]:
    """Address of the first node and a port that is free there; runs on it."""
    import ray

    with socket.socket() as free:
        free.bind(("", 0))
        return str(ray.util.get_node_ip_address()), int(free.getsockname()[1])


def run_program(address: tuple[str, int], node: int, command: list[str], environment: dict[str, str], cwd: str) -> int:
    """Runs a node's program and returns its exit status; runs on the node.

    The program's output goes to `output-<node>.log` beside the job file, its last argument. Interrupted by Ray, it ends
    the program.
    """
    variables = {"NODE_RANK": str(node), "MASTER_ADDR": address[0], "MASTER_PORT": str(address[1])}
    with (Path(command[-1]).parent / f"output-{node}.log").open("ab") as out:
        process = subprocess.Popen(
            command,
            env=os.environ | environment | variables,
            cwd=cwd if Path(cwd).is_dir() else None,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                time.sleep(0.1)
        finally:
            stop_group(process)
    return int(process.returncode)
