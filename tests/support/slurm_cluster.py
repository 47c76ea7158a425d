"""A Slurm of two nodes on this machine, for as long as a test needs it: Debian's slurmctld, slurmd and munge."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "sinfo")
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
KillWait=5
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=2 RealMemory=1000 State=UNKNOWN
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=2 RealMemory=1000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def slurm_is_installed() -> bool:
    """Whether this machine can start one: it takes root, as Debian's CI has."""
    return os.getuid() == 0 and all(shutil.which(name) for name in PROGRAMS)


@contextlib.contextmanager
def slurm_cluster(folder: Path) -> Iterator[str]:
    """Starts the cluster and yields the value of SLURM_CONF; all its processes have ended afterwards."""
    (folder / "state").mkdir(parents=True)
    key, config = folder / "munge.key", folder / "slurm.conf"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    config.write_text(CONFIG.format(folder=folder, host=socket.gethostname(), ports=_free_ports(3)))
    files = [f"--{name}-file={folder}/munged.{name}" for name in ("pid", "log", "seed")]
    commands = [
        ["munged", "--foreground", "--force", f"--key-file={key}", f"--socket={folder}/munge.socket", *files],
        ["slurmctld", "-D", "-c", "-f", str(config)],
        *(["slurmd", "-D", "-N", name, "-f", str(config)] for name in ("node1", "node2")),
    ]
    with contextlib.ExitStack() as stack:
        for command in commands:
            stack.enter_context(_running(command, folder / f"{command[0]}.out"))
            while command[0] == "munged" and not (folder / "munge.socket").exists():
                time.sleep(0.05)
        environment = os.environ | {"SLURM_CONF": str(config)}
        deadline = time.monotonic() + 60
        while _idle_nodes(environment) < 2:
            assert time.monotonic() < deadline, (folder / "slurmctld.log").read_text()[-2000:]
            time.sleep(0.2)
        yield str(config)
        subprocess.run(["scancel", "--me", "--full"], env=environment, check=False)


@contextlib.contextmanager
def _running(command: list[str], output: Path) -> Iterator[None]:
    with output.open("ab") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True)
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _idle_nodes(environment: dict[str, str]) -> int:
    command = ["sinfo", "--noheader", "--states=idle", "--format=%D"]
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout.strip()
    return int(text.splitlines()[0]) if text else 0


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for free in sockets:
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in sockets]
