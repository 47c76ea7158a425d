"""Launching: where runs go, who holds which device, what happens when a launch, a process or memory fails.

Most of it runs bare Python workers; what needs a real `accelerate launch` shares one.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support import REPOSITORY
from support.studies import make_train_params, study_to_train

from tasks.runtime import launcher as launcher_module
from tasks.runtime.cluster_node import node_command, parse_options
from tasks.runtime.executors.command_jobs import CommandExecutor
from tasks.runtime.executors.executor import NodeJob, WorkOrder
from tasks.runtime.gpu_locks import Device, lease_gpus, select_devices
from tasks.runtime.job_answers import JobFailed, OutOfMemory, WorkCancelled, WorkerDied
from tasks.runtime.job_files import JobFileLaunch
from tasks.runtime.launches import node_job
from tasks.runtime.workers import Worker
from tasks.study.errors import InputError
from tasks.study.grid import Run
from tasks.study.params import Params
from tasks.train.launch import RunLauncher, accelerate_command, launch_environment
from tasks.train.placement import CONFIGS, Placement, choose_placement

BARE = [sys.executable, "-m"]
PATH = {"PYTHONPATH": str(REPOSITORY)}
GPUS = tuple(Device(f"GPU-{index}", 80 << 30) for index in range(4))
PAIR = Placement(2, 1, CONFIGS / "cpu.yaml", False, False)

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Params, Run]:
    return study_to_train(tmp_path_factory.mktemp("study"))


def _with(study: tuple[Params, Run], **hardware: Any) -> Params:
    params = study[0]
    return params.model_copy(update={"hardware": params.hardware.model_copy(update=hardware)})


def _until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return condition()


def _alive(pid: int) -> bool:
    """Whether a process still runs; one that only waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in {"Z", "X"}


# Placement


def test_the_config_follows_from_the_machine_and_the_run(study: tuple[Params, Run]) -> None:
    run = study[1]
    cluster = {"launch_command": "sbatch --wait", "gpu_memory_gb": 79.1, "gpus_per_node": 2}
    cases = [
        (_with(study), (), ("cpu.yaml", 1, False)),
        (_with(study, gpus_per_run={"3k": 2}), (), ("cpu.yaml", 1, False)),
        (_with(study), GPUS, ("one_gpu.yaml", 1, False)),
        (_with(study, gpus_per_run={"3k": 4}), GPUS, ("fsdp2_one_node.yaml", 1, True)),
        (_with(study, gpus_per_run={"3k": 4}, **cluster), (), ("fsdp2_multi_node.yaml", 2, True)),
    ]
    for params, devices, expected in cases:
        placed = choose_placement(params, run, devices)
        assert (placed.config.name, placed.num_nodes, placed.sharded) == expected


@pytest.mark.parametrize(
    ("hardware", "devices", "message"),
    [
        ({"gpus_per_run": {"3k": 5}}, GPUS, "gpus_per_run.3k is 5, this machine has 4 GPUs"),
        ({"gpus_per_run": {"3k": 3}, "gpus_per_node": 2, "launch_command": "x"}, (), "does not fill 2 nodes of 2"),
        ({"gpus_per_run": {"3k": 8}}, (), "train.minibatch has only 4 prompts"),
        ({"launch_command": "sbatch"}, (), "hardware.gpu_memory_gb must be given"),
        ({"accelerate_config": "missing.yaml"}, (), "missing.yaml: no such file"),
    ],
)
def test_an_impossible_placement_is_refused_with_the_key(
    study: tuple[Params, Run], hardware: dict[str, Any], devices: tuple[Device, ...], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        choose_placement(_with(study, **hardware), study[1], devices)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("distributed_type: DEEPSPEED", "must be NO, MULTI_GPU or FSDP"),
        ("distributed_type: FSDP\nfsdp_config: {fsdp_version: 1}", "fsdp_version must be 2"),
        ("distributed_type: 'NO'\nmixed_precision: fp16", "mixed_precision must be 'no'"),
        ("distributed_type: MULTI_GPU", "needs at least 2 processes"),
        ("a: [", "not YAML"),
    ],
)
def test_an_accelerate_config_that_does_not_suit_is_refused(
    study: tuple[Params, Run], tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        choose_placement(_with(study, accelerate_config=str(tmp_path / "own.yaml")), study[1], ())


def test_every_shipped_config_suits_the_placement_it_is_chosen_for(study: tuple[Params, Run]) -> None:
    for name in ("cpu", "one_gpu", "fsdp2_one_node", "fsdp2_multi_node"):
        params = _with(study, accelerate_config=str(CONFIGS / f"{name}.yaml"))
        assert choose_placement(params, study[1], ()).sharded == name.startswith("fsdp2")


# Devices


def test_visible_devices_are_named_by_index_or_uuid() -> None:
    assert select_devices(GPUS, None) == GPUS
    assert select_devices(GPUS, "2,GPU-0") == (GPUS[2], GPUS[0])
    assert select_devices(GPUS, "") == ()
    assert select_devices(GPUS, "1,-1,2") == (GPUS[1],)
    with pytest.raises(InputError, match="names '7', but this machine has 4 GPUs"):
        select_devices(GPUS, "7")


def test_no_device_is_held_twice_and_a_large_run_does_not_starve(tmp_path: Path) -> None:
    held: set[str] = set()
    lock, most = threading.Lock(), 0

    def use(count: int) -> None:
        nonlocal most
        with lease_gpus(GPUS, count, tmp_path, threading.Event()) as (devices, _):
            names = {device.name for device in devices}
            with lock:
                assert not held & names
                held.update(names)
                most = max(most, len(held))
            time.sleep(0.02)
            with lock:
                held.difference_update(names)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, [1, 4, 1, 2, 1, 4, 2, 3]))
    assert most == 4
    assert not held


def test_a_device_stays_locked_until_the_process_that_uses_it_is_gone(tmp_path: Path) -> None:
    with lease_gpus(GPUS[:1], 1, tmp_path, threading.Event()) as (_, handles):
        worker = Worker(BARE, PATH, tmp_path / "log", pass_fds=handles)
        pid = int(worker.run("tests.support.worker_jobs:report", {"folder": str(tmp_path)})["pid"])
    assert _is_locked(tmp_path)  # this process has let go, the worker has not
    os.kill(pid, signal.SIGKILL)
    assert _until(lambda: not _is_locked(tmp_path))
    worker.close()


def _is_locked(folder: Path) -> bool:
    stop = threading.Event()
    stop.set()
    try:
        with lease_gpus(GPUS[:1], 1, folder, stop):
            return False
    except InterruptedError:
        return True


# Workers


def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    worker = Worker(BARE, PATH, tmp_path / "log")
    first = worker.run("os:getpid", {})
    with ThreadPoolExecutor(1) as threads:
        job = threads.submit(
            worker.run, "tests.support.worker_jobs:report", {"folder": str(tmp_path), "seconds": 600.0}
        )
        assert _until(lambda: (tmp_path / "rank-0.pid").exists())
        os.kill(first, signal.SIGKILL)
        with pytest.raises(WorkerDied, match="ended without an answer"):
            job.result(timeout=60)
    assert worker.run("os:getpid", {}) != first
    worker.close()


def test_memory_that_runs_out_is_told_apart_from_other_failures(tmp_path: Path) -> None:
    worker = Worker(BARE, PATH, tmp_path / "log")
    with pytest.raises(OutOfMemory, match="MemoryError"):
        worker.run("tests.support.worker_jobs:raise_named", {"name": "MemoryError"})
    with pytest.raises(JobFailed, match="ZeroDivisionError") as caught:
        worker.run("tests.support.worker_jobs:raise_named", {"name": "ZeroDivisionError"})
    assert not isinstance(caught.value, OutOfMemory)
    worker.close()


PARENT = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from tasks.runtime.workers import Worker
worker = Worker({prefix!r}, {environment!r}, Path({folder!r}) / "log", {ranks})
worker.run("tests.support.worker_jobs:report", {{"folder": {folder!r}, "seconds": 600.0}})
"""


def test_two_launches_at_once_do_not_collide_and_a_killed_parent_leaves_no_orphan(
    study: tuple[Params, Run], tmp_path: Path
) -> None:
    prefix = accelerate_command(study[0].hardware, PAIR)
    environment = launch_environment(study[0].hardware, PAIR) | PATH
    (tmp_path / "parent").mkdir()
    values = {"tests": str(REPOSITORY), "prefix": prefix, "environment": environment, "ranks": 2}
    parent = subprocess.Popen([sys.executable, "-c", PARENT.format(folder=str(tmp_path / "parent"), **values)])
    other = Worker(prefix, environment, tmp_path / "log", 2)
    answer = other.run("tests.support.worker_jobs:report", {"folder": str(tmp_path)})
    assert (answer["RANK"], answer["WORLD_SIZE"]) == ("0", "2")
    files = [tmp_path / "parent" / f"rank-{rank}.pid" for rank in (0, 1)]
    assert _until(lambda: all(file.exists() and file.read_text() for file in files), 180)
    ranks = [int(file.read_text()) for file in files]
    family = [*ranks, *(_parent_of(pid) for pid in ranks)]
    assert all(_alive(pid) for pid in family)
    parent.kill()
    parent.wait()
    assert _until(lambda: not any(_alive(pid) for pid in family), 90)
    other.end()


def _parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# The launcher


def test_memory_that_runs_out_is_answered_with_half_the_token_budget_once(
    study: tuple[Params, Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    budgets = study[0].root / "budgets.txt"
    with RunLauncher(_with(study, token_budget=64), job="tests.support.worker_jobs:bounded_memory") as launcher:
        assert launcher.train(study[1], "m")["budget"] == 32
        assert budgets.read_text().split() == ["64", "32"]
        launcher.params = _with(study, token_budget=256)
        with pytest.raises(OutOfMemory, match=r"hardware.token_budget 256 and again with 128; raise hardware.gpus_per"):
            launcher.train(study[1], "m")
    assert budgets.read_text().split()[2:] == ["256", "128"]


def test_a_launch_that_fails_is_tried_again_after_a_pause(
    study: tuple[Params, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher_module, "PAUSES", (0.1, 0.1))
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    tries = tmp_path / "tries"
    fails = f'echo x >> {tries}\n[ $(wc -l < {tries}) -lt 3 ] && exit 7\nexec {sys.executable} "$@"\n'
    python = _script(tmp_path / "python", fails)
    with RunLauncher(_with(study, python=python), job="tests.support.worker_jobs:bounded_memory") as launcher:
        launcher.params = _with(study, python=python, token_budget=16)
        assert launcher.train(study[1], "m")["budget"] == 16
    assert len(tries.read_text().split()) == 3


def test_a_launch_that_keeps_failing_is_reported(
    study: tuple[Params, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launcher_module, "PAUSES", (0.1,))
    python = _script(tmp_path / "python", "exit 7\n")
    with (
        RunLauncher(_with(study, python=python)) as launcher,
        pytest.raises(WorkerDied, match=r"did not start \(exit status 7\)"),
    ):
        launcher.train(study[1], "m")


def test_a_closed_launcher_ends_a_run_in_flight(study: tuple[Params, Run], tmp_path: Path) -> None:
    python = _script(tmp_path / "python", "sleep 600\n")
    launcher = RunLauncher(_with(study, python=python))
    with ThreadPoolExecutor(1) as threads:
        job = threads.submit(launcher.train, study[1], "m")
        time.sleep(0.5)
        launcher.close()
        with pytest.raises((WorkCancelled, WorkerDied)):
            job.result(timeout=60)


def _script(path: Path, body: str) -> str:
    path.write_text("#!/bin/bash\n" + body)
    path.chmod(0o755)
    return str(path)


# Clusters


def _launch(folder: Path, command: list[str]) -> JobFileLaunch:
    folder.mkdir()
    return JobFileLaunch(CommandExecutor(""), NodeJob("job", tuple(command), folder / "job.json", environment=PATH))


def test_a_job_file_brings_back_its_answer_or_its_failure(tmp_path: Path) -> None:
    def run(launch_name: str, function: str, **arguments: Any) -> Any:
        return _launch(tmp_path / launch_name, [*BARE, "tasks.runtime.job_files"]).run(function, arguments)

    assert int(run("good", "tests.support.worker_jobs:report", folder=str(tmp_path))["pid"]) > 0
    with pytest.raises(OutOfMemory, match="MemoryError"):
        run("memory", "tests.support.worker_jobs:raise_named", name="MemoryError")
    with pytest.raises(JobFailed, match="enough"):
        run("bad", "tests.support.worker_jobs:fail_on_rank", rank=0, message="enough")
    with pytest.raises(WorkerDied, match=r"ended with status 3 and no answer; see .*output.log"):
        _launch(tmp_path / "none", ["bash", "-c", "exit 3"]).run("os:getpid", {})


def test_stopping_ends_the_command_of_a_job_file(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        launched = _launch(tmp_path / "launch", ["bash", "-c", f"echo $$ > {tmp_path}/pid; sleep 600"])
        job = threads.submit(launched.run, "os:getpid", {})
        assert _until(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()))
        launched.end()
        with pytest.raises(WorkCancelled):
            job.result(timeout=60)
    assert _until(lambda: not _alive(int((tmp_path / "pid").read_text())))
    assert (tmp_path / "launch" / "stop").exists()  # for a job that lives on where no signal reaches it


def test_a_node_finds_its_place_in_the_launch() -> None:
    given = ["--config", "c.yaml", "--processes", "16", "--nodes", "2", "--threads", "8", "job.json"]
    slurm = {"SLURM_NODEID": "1", "MASTER_ADDR": "node7", "MASTER_PORT": "23456"}
    command, variables = node_command(parse_options(given), slurm)
    text = " ".join(command)
    assert "--num_machines 2 --machine_rank 1 --main_process_ip node7 --main_process_port 23456" in text
    assert text.endswith("-m tasks.runtime.job_files job.json")
    assert variables == {}
    with pytest.raises(InputError, match="SLURM_NODEID"):
        node_command(parse_options(given), {"MASTER_ADDR": "node7"})


def test_two_machines_join_through_a_launch_command(tmp_path: Path) -> None:
    """Two `num_nodes` of one process on this machine, started by a stand-in for sbatch."""
    body = "export ACCELERATE_USE_CPU=true MASTER_ADDR=127.0.0.1 MASTER_PORT=$((20000 + $$ % 20000))\n"
    body += 'for node in 0 1; do SLURM_NODEID=$node "$@" & done\nwait\n'
    hardware = make_train_params(tmp_path / "study").hardware
    placement = Placement(2, 2, CONFIGS / "fsdp2_multi_node.yaml", True, True)
    order = WorkOrder("run", tmp_path, num_processes=2, num_nodes=2, config=placement.config)
    job = node_job(hardware, order, launch_environment(hardware, placement) | PATH)
    launched = JobFileLaunch(CommandExecutor(_script(tmp_path / "sbatch", body)), job)
    answer = launched.run("tests.support.worker_jobs:report", {"folder": str(tmp_path)})
    assert (answer["RANK"], answer["WORLD_SIZE"], answer["ACCELERATE_USE_FSDP"]) == ("0", "2", "true")
    launch = tmp_path / "launches" / "0001"
    assert json.loads((launch / "answer-00001.json").read_text())["value"]["RANK"] == "1"
