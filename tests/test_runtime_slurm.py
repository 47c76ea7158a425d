"""Jobs on Slurm: a real one of two nodes where Debian's is installed, stand-ins for what it cannot be made to do."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import REPOSITORY
from support.slurm_cluster import slurm_cluster, slurm_is_installed
from support.studies import make_train_params

from tasks.runtime.executors import slurm_jobs
from tasks.runtime.executors.executor import NodeJob, WorkOrder
from tasks.runtime.executors.slurm_jobs import SlurmExecutor, sbatch_command
from tasks.runtime.job_answers import LaunchFailed, WorkCancelled, WorkerDied
from tasks.runtime.job_files import JobFileLaunch
from tasks.runtime.launcher import Launcher
from tasks.runtime.launches import newest_launch_folder, node_job, read_launch
from tasks.study.errors import InputError

REPORT = "tests.support.worker_jobs:report"
ON_SLURM = {"executor": "slurm", "gpus_per_node": 0, "workers": None}
needs_slurm = pytest.mark.skipif(not slurm_is_installed(), reason="slurmctld, slurmd and munge are not installed")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with slurm_cluster(tmp_path_factory.mktemp("slurm")) as config:
        yield config


@pytest.fixture
def slurm(cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CONF", cluster)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setattr(SlurmExecutor, "poll_seconds", 0.3)


def _until(condition: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition():
        time.sleep(0.1)
    return condition()


def _kind(folder: Path) -> str:
    launch = read_launch(folder)
    return launch.kind if launch else "none"


def _in_queue() -> list[str]:
    return subprocess.run(["squeue", "--noheader", "--format=%j"], capture_output=True, text=True).stdout.split()


def _order(tmp_path: Path, name: str, nodes: int = 1) -> WorkOrder:
    return WorkOrder(name, tmp_path / name, num_processes=nodes, num_nodes=nodes)


@pytest.fixture
def launcher(slurm: None, tmp_path: Path) -> Iterator[Launcher]:
    params = make_train_params(tmp_path / "study", hardware=ON_SLURM | {"threads_per_worker": 2})  # all of a node
    with Launcher(params, "pretrain") as launcher:
        yield launcher


@needs_slurm
@pytest.mark.slow
def test_a_job_runs_in_its_folder_and_its_state_can_be_read(launcher: Launcher, tmp_path: Path) -> None:
    with launcher.lease(_order(tmp_path, "report")) as worker:
        answer = worker.run(REPORT, {"folder": str(tmp_path)})
    assert int(answer["pid"]) > 0
    launch = read_launch(tmp_path / "report")
    assert launch is not None
    assert (launch.executor, launch.kind, launch.detail, launch.hosts) == ("slurm", "ended", "COMPLETED", "node1")
    assert launch.job_id.isdigit()
    folder = tmp_path / "report" / "launches" / "0001"
    assert sorted(path.name for path in folder.iterdir()) == [
        "answer-00000.json", "job.json", "output.log", "state.json"
    ]  # fmt: skip


@needs_slurm
@pytest.mark.slow
def test_stopping_cancels_jobs_that_wait_and_jobs_that_run(launcher: Launcher, tmp_path: Path) -> None:
    def work(name: str) -> None:
        with launcher.lease(_order(tmp_path, name, nodes=2)) as worker:
            worker.run(REPORT, {"folder": str(tmp_path), "seconds": 60.0})

    with ThreadPoolExecutor(2) as threads:
        jobs = [threads.submit(work, name) for name in ("first", "second")]
        launches = [tmp_path / "first", tmp_path / "second"]
        both_seen = _until(lambda: sorted(_kind(path) for path in launches) == ["queued", "running"], 20)
        launcher.close()
        for job in jobs:
            with pytest.raises(WorkCancelled):
                job.result(timeout=60)
    assert both_seen
    assert _until(lambda: _in_queue() == [], 20)


@needs_slurm
@pytest.mark.slow
def test_a_job_that_a_killed_process_left_is_taken_over_and_another_one_cancelled(
    launcher: Launcher, tmp_path: Path
) -> None:
    assert launcher.executor is not None
    arguments = {"folder": str(tmp_path), "seconds": 2.0}
    job = node_job(launcher.params.hardware, _order(tmp_path, "left"), {})
    threading.Thread(target=JobFileLaunch(launcher.executor, job).run, args=(REPORT, arguments), daemon=True).start()
    assert _until(lambda: _kind(tmp_path / "left") == "running")
    with launcher.lease(_order(tmp_path, "left")) as worker:
        assert worker.run(REPORT, arguments)["pid"]
    assert [path.name for path in (tmp_path / "left" / "launches").iterdir()] == ["0001"]

    job = node_job(launcher.params.hardware, _order(tmp_path, "other"), {})
    left = JobFileLaunch(launcher.executor, job)
    with ThreadPoolExecutor(1) as threads:
        lost = threads.submit(left.run, REPORT, arguments | {"seconds": 60.0})
        assert _until(lambda: _kind(tmp_path / "other") == "running")
        with launcher.lease(_order(tmp_path, "other")) as worker:
            assert worker.run(REPORT, arguments | {"seconds": 0.0})["pid"]
        with pytest.raises(WorkerDied):
            lost.result(timeout=60)


@needs_slurm
@pytest.mark.slow
def test_the_signal_before_a_time_limit_asks_the_job_to_stop(launcher: Launcher, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads, launcher.lease(_order(tmp_path, "limited")) as worker:
        job = threads.submit(worker.run, REPORT, {"folder": str(tmp_path), "seconds": 60.0})
        assert _until(lambda: (tmp_path / "rank-0.pid").exists())
        launch = read_launch(tmp_path / "limited")
        assert launch is not None
        subprocess.run(["scancel", "--signal=USR1", launch.job_id], check=True)
        asked = _until((tmp_path / "limited" / "launches" / "0001" / "stop").exists, 20)
        launcher.close()
        with pytest.raises(WorkCancelled):
            job.result(timeout=60)
    assert asked


# What a real Slurm cannot be made to do


def _script(path: Path, body: str) -> None:
    path.write_text("#!/bin/bash\n" + body)
    path.chmod(0o755)


def test_a_submission_that_is_refused_or_gets_no_answer_is_a_failed_launch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(slurm_jobs, "ANSWER_SECONDS", 0.3)
    _script(tmp_path / "sbatch", 'echo "sbatch: error: Invalid account" >&2; exit 1\n')
    job = NodeJob("run", ("true",), tmp_path / "job.json")
    with pytest.raises(LaunchFailed, match="sbatch: error: Invalid account"):
        SlurmExecutor().submit(job)
    _script(tmp_path / "sbatch", "exec sleep 5\n")
    launch = JobFileLaunch(SlurmExecutor(), job)
    with pytest.raises(LaunchFailed, match="no answer within"):
        launch.run("os:getpid", {})
    assert (tmp_path / "stop").exists()  # should it have been taken after all, it ends at once


def test_pauses_grow_and_a_job_that_gets_on_is_never_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(SlurmExecutor.pauses) == sorted(SlurmExecutor.pauses)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(SlurmExecutor, "pauses", (0.0, 0.0))
    _script(tmp_path / "sbatch", "exit 1\n")
    launcher = Launcher(make_train_params(tmp_path / "study", hardware=ON_SLURM), "pretrain")
    tries = 0

    def attempt() -> str:
        nonlocal tries
        tries += 1
        if tries <= 7:
            raise WorkerDied("time limit")
        return "done"

    assert launcher.keep_trying("run", attempt, lambda: tries) == "done"
    tries = 0
    with pytest.raises(WorkerDied):
        launcher.keep_trying("run", attempt, lambda: "no new checkpoint")
    assert tries == 3


def test_a_controller_that_does_not_answer_ends_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(SlurmExecutor, "poll_seconds", 0.0)
    _script(tmp_path / "sbatch", "echo '7;cluster'\n")
    _script(tmp_path / "squeue", "echo '7|RUNNING|node[1-4]|None'\n")
    executor = SlurmExecutor()
    assert executor.submit(NodeJob("run", ("true",), tmp_path / "job.json")) == "7"
    assert (executor.state("7").kind, executor.state("7").hosts) == ("running", "node[1-4]")
    _script(tmp_path / "squeue", "echo 'slurm_load_jobs error: Unable to contact controller' >&2; exit 1\n")
    assert executor.state("7").kind == "running"
    _script(tmp_path / "squeue", "exit 0\n")
    assert executor.state("7").kind == "ended"


def test_whole_nodes_are_asked_for_whole_and_options_come_last() -> None:
    job = NodeJob("run", ("true",), Path("/root/launch/job.json"), 4, 8, 64, whole_nodes=True, notice_seconds=1800)
    text = " ".join(sbatch_command(job, ("--partition=gpu",)))
    assert "--parsable --no-requeue --job-name=run --nodes=4 --ntasks-per-node=1 --cpus-per-task=64" in text
    assert "--output=/root/launch/output.log" in text
    assert text.endswith("--gpus-per-node=8 --exclusive --mem=0 --signal=USR1@1800 --partition=gpu")


def test_without_slurm_the_executor_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="sbatch is not a command here"):
        SlurmExecutor()


def test_the_published_runs_are_handed_to_slurm_whole(tmp_path: Path) -> None:
    from tasks.study.params import load_params

    hardware = load_params(REPOSITORY / "params.paper.yaml").hardware
    order = WorkOrder("run", tmp_path, num_processes=32, num_nodes=4, num_gpus=32, config=Path("c.yaml"))
    job = node_job(hardware, order, {})
    assert (job.num_nodes, job.gpus_per_node, job.cores_per_node, job.whole_nodes) == (4, 8, 64, True)
    assert job.notice_seconds == 1800
    assert "--processes 32 --nodes 4 --threads 8 --grace 1500.0" in " ".join(job.command)
    assert newest_launch_folder(tmp_path) is None  # nothing was submitted
