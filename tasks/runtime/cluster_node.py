"""One machine's part of a launch on a cluster: runs `accelerate launch` with this machine's rank and looks after it.
Without `--config` it runs the job file in one process, without accelerate.

    sbatch ... infra/slurm/job.sbatch python -m tasks.runtime.cluster_node \\
        --config C --processes 32 --nodes 4 --threads 8 --grace 600 job.json

The batch script starts this once per node and sets MASTER_ADDR and MASTER_PORT, the first node's address and a port of
this job. The node's number is SLURM_NODEID, or NODE_RANK under other schedulers.

SIGTERM or SIGUSR1 here, as a scheduler sends before it takes the machine back, asks the job on all nodes to save its
work and stop at the end of its step, as does the end of the process that started this one; after `--grace` seconds the
processes are ended. Exit status: 75 where the job
stopped early, else the launcher's.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.runtime.job_files import STOP_FILE
from tasks.runtime.patient_launch import COMMAND
from tasks.runtime.stop_request import STOP_SIGNALS, STOPPED_EXIT_CODE, end_with_parent
from tasks.runtime.workers import stop_group
from tasks.study.errors import InputError


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """The options; `job` is the path of the job file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    for name in ("--processes", "--nodes", "--threads"):
        parser.add_argument(name, required=True)
    parser.add_argument("--grace", type=float, default=0.0)
    parser.add_argument("job")
    return parser.parse_args(arguments)


def node_command(options: argparse.Namespace, environment: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Returns the command of this node, and the variables to set for it.

    Raises:
        InputError: the batch script did not say which node this is or where the first one is.
    """
    job = ["-m", "tasks.runtime.job_files", options.job]
    if options.config is None:
        return [sys.executable, *job], {}
    command = [sys.executable, "-m", COMMAND, "--config_file", options.config]
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
    return [*command, *job], variables


def run_node(command: Sequence[str], environment: Mapping[str, str], stop_file: Path, grace_seconds: float) -> int:
    """Runs a node's command; returns its exit status, or 75 where the job was asked to stop and did."""
    if stop_file.exists():
        return STOPPED_EXIT_CODE  # it waited in a queue for longer than anybody waited for it
    asked: list[float] = []

    def ask(*_: object) -> None:
        asked.append(time.monotonic())
        stop_file.touch()

    for number in STOP_SIGNALS:
        signal.signal(number, ask)
    parent = os.getppid()
    process = subprocess.Popen(command, env=dict(environment), start_new_session=True, preexec_fn=end_with_parent)
    while process.poll() is None:
        time.sleep(0.2)
        if os.getppid() != parent and not asked:
            ask()  # whoever placed the job here is gone, and the place with it
        if asked and time.monotonic() > asked[0] + grace_seconds:
            stop_group(process)
            return 1
    return STOPPED_EXIT_CODE if process.returncode and stop_file.exists() else process.returncode


def main(arguments: Sequence[str]) -> int:
    """The program; returns its exit status."""
    options = parse_options(arguments)
    command, variables = node_command(options, os.environ)
    return run_node(command, os.environ | variables, Path(options.job).parent / STOP_FILE, options.grace)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
