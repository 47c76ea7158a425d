"""One machine's part of a launch on a cluster: turns into `accelerate launch` with this machine's rank.

    sbatch --wait ... infra/slurm/train.sbatch python -m tasks.runtime.cluster_node \\
        --config C --processes 32 --nodes 4 --threads 8 job.json

The batch script starts this once per node and sets MASTER_ADDR and MASTER_PORT, the first node's address and a port of
this job. The node's number is SLURM_NODEID, or NODE_RANK under other schedulers.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

from tasks.study.errors import InputError


def node_command(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Returns the command of this node, and the variables to set for it.

    Raises:
        InputError: the batch script did not say which node this is or where the first one is.
    """
    parser = argparse.ArgumentParser()
    for name in ("--config", "--processes", "--nodes", "--threads"):
        parser.add_argument(name, required=True)
    parser.add_argument("job")
    options = parser.parse_args(arguments)
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", options.config]
    command += ["--num_processes", options.processes, "--num_cpu_threads_per_process", options.threads]
    variables = {}
    if int(options.nodes) > 1:
        rank = environment.get("SLURM_NODEID", environment.get("NODE_RANK"))
        head, port = environment.get("MASTER_ADDR"), environment.get("MASTER_PORT")
        if rank is None or head is None or port is None:
            raise InputError("a node of a launch needs SLURM_NODEID (or NODE_RANK), MASTER_ADDR and MASTER_PORT")
        command += ["--num_machines", options.nodes, "--machine_rank", rank]
        command += ["--main_process_ip", head, "--main_process_port", port]
    else:
        command += ["--main_process_port", "0"]
        if int(options.processes) > 1:
            variables["PET_STANDALONE"] = "1"
    return [*command, "-m", "tasks.runtime.job_files", options.job], variables


if __name__ == "__main__":
    node, variables = node_command(sys.argv[1:], os.environ)
    os.execve(node[0], node, os.environ | variables)
