"""How well a Ray cluster of 128 GPUs is filled by the 54 runs of the published study.

    python -m benchmarks.ray_packing [--nodes 16] [--seconds 20]

A cluster of made-up nodes with 8 GPUs each on this machine, and the executor as a study uses it: all runs are handed
over at once, longest first, each with the GPUs of `params.paper.yaml`; a run is a program that waits, from `--seconds`
(72B) to half of that (0.5B). Printed: the share of GPUs that placed runs hold while others still wait, which is what
placement can decide.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from ray.cluster_utils import Cluster

from tasks.runtime.executors.executor import NodeJob
from tasks.runtime.executors.ray_jobs import RayExecutor
from tasks.study.grid import expand_grid
from tasks.study.params import load_params

ROOT = Path(__file__).resolve().parents[1]
GPUS_PER_NODE = 8


def main() -> None:
    """Runs it and prints the shares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    params = load_params(ROOT / "params.paper.yaml")
    sizes = list(params.grid.sizes)
    runs = sorted(expand_grid(params), key=lambda run: -sizes.index(run.size))
    os.environ |= {"PYTHONPATH": str(ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(options.nodes):
        cluster.add_node(num_cpus=GPUS_PER_NODE, num_gpus=GPUS_PER_NODE, object_store_memory=80 << 20)
    os.environ["RAY_ADDRESS"] = cluster.address
    executor = RayExecutor()
    with tempfile.TemporaryDirectory() as name:
        jobs: dict[str, int] = {}
        for number, run in enumerate(runs):
            folder = Path(name, str(number))
            folder.mkdir()
            gpus = params.hardware.gpus_per_run[run.size]
            nodes = -(-gpus // GPUS_PER_NODE)
            seconds = options.seconds * (1 + sizes.index(run.size) / (len(sizes) - 1)) / 2
            command = ("bash", "-c", f"sleep {seconds:.1f}")
            jobs[executor.submit(NodeJob(run.run_id, command, folder / "job.json", nodes, gpus // nodes))] = gpus
        total, held, waited, began = options.nodes * GPUS_PER_NODE, 0.0, 0.0, time.monotonic()
        most, last = 0, time.monotonic()
        while jobs:
            time.sleep(0.25)
            states = {job_id: executor.state(job_id).kind for job_id in jobs}
            placed = sum(jobs[job_id] for job_id, kind in states.items() if kind == "running")
            now = time.monotonic()
            if "queued" in states.values():
                held, waited, most = held + placed * (now - last), waited + now - last, max(most, placed)
            last = now
            jobs = {job_id: gpus for job_id, gpus in jobs.items() if states[job_id] != "ended"}
        print(f"{len(runs)} runs on {total} GPUs: all done after {time.monotonic() - began:.0f} s")
        print(f"while runs waited ({waited:.0f} s): {held / (total * waited):.1%} of the GPUs held, {most} at most")
    executor.close()
    cluster.shutdown()


if __name__ == "__main__":
    main()
