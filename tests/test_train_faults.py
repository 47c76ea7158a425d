"""Ranks that die, raise or hang, launches that fail or are preempted, Ctrl-C: each goes on and ends equal.

Every launch here is a real one, of two FSDP2 processes over gloo or of one process through a stand-in for sbatch.
"""

from __future__ import annotations

import json
import logging
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import REPOSITORY
from support.studies import copy_study, numbers, study_to_train

from tasks.runtime import launcher as launcher_module
from tasks.runtime.executors.command_jobs import CommandExecutor
from tasks.runtime.job_answers import JobFailed, WorkCancelled, WorkerDied, answer_job, decisive_answer
from tasks.runtime.run_progress import read_progress
from tasks.runtime.workers import Worker
from tasks.study.grid import Run
from tasks.study.manifests import verify
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.train.checkpoint_folder import list_checkpoints
from tasks.train.launch import RunLauncher, train_once
from tasks.train.placement import CONFIGS

TRAIN = {"steps": 6, "batch": 8, "group_size": 4, "minibatch": 4}
FAULTY = "tests.support.worker_jobs:train_with_faults"
SHARDED = {"accelerate_config": str(CONFIGS / "fsdp2_one_node.yaml"), "gpus_per_run": {"3k": 2}}
PATH = {"PYTHONPATH": str(REPOSITORY)}
Study = tuple[Params, Run]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Params:
    return study_to_train(tmp_path_factory.mktemp("source"))[0]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No pauses between launches, and nothing left behind by any test."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setattr(launcher_module, "PAUSES", (0.1, 0.1))
    monkeypatch.setattr(CommandExecutor, "pauses", (0.1, 0.1))
    before = set(psutil.Process().children(recursive=True))  # servers of other modules' fixtures
    yield
    new = set(psutil.Process().children(recursive=True)) - before
    left = psutil.wait_procs(new, timeout=20)[1]
    assert [process.cmdline() for process in left] == []


def _study(source: Params, root: Path, faults: list[dict[str, Any]], **hardware: Any) -> Study:
    block = source.hardware.model_dump(mode="json") | hardware
    study = copy_study(source, root, train=TRAIN, hardware=block, checkpoints={"every": 1, "keep_last": 2})
    (root / "data" / "faults.json").write_text(json.dumps(faults))
    return study


def _train(study: Study) -> dict[str, Any]:
    with RunLauncher(study[0], job=FAULTY) as launcher:
        return train_once(*study, launcher)


def _assert_equal_and_tidy(study: Study, whole: Study) -> None:
    """Equal rows and weights; the manifest proves the folder, and no checkpoint is left."""
    assert numbers(*study) == numbers(*whole)
    paths, others = StudyPaths.of(study[0]), StudyPaths.of(whole[0])
    for file in others.final(whole[1]).iterdir():
        assert (paths.final(study[1]) / file.name).read_bytes() == file.read_bytes(), file.name
    assert verify(paths.run(study[1])) == []
    assert not paths.checkpoints(study[1]).exists()


@pytest.mark.slow
def test_every_kind_of_lost_rank_is_retried_from_the_last_checkpoint(
    source: Params, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = _study(source, tmp_path / "whole", [], **SHARDED)
    _train(whole)
    kinds = [(0, "kill"), (1, "kill"), (1, "raise"), (0, "hang")]
    faults = [{"rank": rank, "step": step, "kind": kind} for step, (rank, kind) in enumerate(kinds, 2)]
    broken = _study(source, tmp_path / "broken", faults, collective_timeout_seconds=4.0, **SHARDED)
    with caplog.at_level(logging.WARNING):
        _train(broken)
    assert caplog.text.count("going on from") == len(kinds), caplog.text
    _assert_equal_and_tidy(broken, whole)


@pytest.mark.slow
def test_a_launch_that_fails_is_slow_or_is_preempted_goes_on(source: Params, tmp_path: Path) -> None:
    whole = _study(source, tmp_path / "whole", [])
    _train(whole)
    tries = tmp_path / "tries"
    sbatch = tmp_path / "sbatch"
    sbatch.write_text(
        "#!/bin/bash\n"
        "export ACCELERATE_USE_CPU=true\n"
        f"echo x >> {tries}\n"
        f"case $(wc -l < {tries}) in\n"
        '1) echo "sbatch: error: Socket timed out" >&2; exit 1 ;;\n'  # the controller does not answer
        f'2) sleep 1; "$@" & node=$!; until [ -e {tmp_path}/broken/data/fault-0 ]; do sleep 0.1; done\n'
        "   kill -TERM $node; wait $node; exit $? ;;\n"  # slow, then preempted
        '*) exec "$@" ;;\n'
        "esac\n"
    )
    sbatch.chmod(0o755)
    faults = [{"rank": 0, "step": 3, "kind": "stop"}]
    one = {"launch_command": str(sbatch), "gpu_memory_gb": 80.0, "accelerate_config": str(CONFIGS / "cpu.yaml")}
    broken = _study(source, tmp_path / "broken", faults, **one)
    _train(broken)
    assert len(tries.read_text().split()) == 3
    launches = sorted((StudyPaths.of(broken[0]).run(broken[1]) / "launches").iterdir())
    kinds = [json.loads((path / "answer-00000.json").read_text())["kind"] for path in launches[1:]]
    assert kinds == ["stopped", "done"]
    _assert_equal_and_tidy(broken, whole)


@pytest.mark.slow
def test_ctrl_c_lets_the_step_end_and_saves_it(source: Params, tmp_path: Path) -> None:
    study = _study(source, tmp_path / "study", [])
    block = study[0].checkpoints.model_copy(update={"every": 100})
    params, run = study[0].model_copy(update={"checkpoints": block}), study[1]
    paths = StudyPaths.of(params)
    with ThreadPoolExecutor(1) as threads:
        launcher = RunLauncher(params)
        job = threads.submit(launcher.train, run, "m")
        while not paths.metrics(run).exists() or paths.metrics(run).read_text().count("\n") < 2:
            assert not job.done(), job.result()
            time.sleep(0.01)
        during = read_progress(paths.run_progress(run), 0.0)
        launcher.__exit__(KeyboardInterrupt, None, None)
        with pytest.raises(WorkCancelled):
            job.result(timeout=1)
    assert during is not None
    assert during.steps == TRAIN["steps"]
    assert not paths.run_progress(run).exists()
    done = len(numbers(params, run)) - 1
    assert 1 <= done < TRAIN["steps"]
    assert [path.name for path in list_checkpoints(paths.checkpoints(run))] == [f"step-{done:06d}"]


@pytest.mark.slow
def test_a_rank_that_fails_because_another_is_gone_is_lost_not_failed(tmp_path: Path) -> None:
    worker = Worker([sys.executable, "-c", FORK], PATH, tmp_path / "log", 2)
    with pytest.raises(WorkerDied, match="a consequence of what happens on rank 1"):
        worker.run("tests.support.worker_jobs:raise_lost", {"seconds": 0.5})
    with pytest.raises(JobFailed, match="rank 1 has had enough"):
        worker.run("tests.support.worker_jobs:fail_on_rank", {"rank": 1, "message": "rank 1 has had enough"})
    worker.end()


FORK = """
import os, sys
child = os.fork()
os.environ["RANK"] = "0" if child else "1"
from tasks.runtime.workers import worker_main
worker_main(sys.argv[2])
"""
"""Two ranks without torch: a launcher that forks."""


def test_a_worker_that_is_ended_while_it_starts_does_no_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker([sys.executable, "-m"], PATH, tmp_path / "log")
    draw = secrets.token_bytes

    def end_meanwhile(count: int) -> bytes:
        worker.end()
        return draw(count)

    monkeypatch.setattr(secrets, "token_bytes", end_meanwhile)
    with pytest.raises(WorkCancelled):
        worker.run("os:getpid", {})
    assert not (tmp_path / "log").read_bytes()


def test_an_idle_worker_that_is_ended_by_another_thread_raises_cancelled(tmp_path: Path) -> None:
    worker = Worker([sys.executable, "-m"], PATH, tmp_path / "log")
    worker.run("os:getpid", {})
    ended = threading.Thread(target=worker.end)
    ended.start()
    ended.join()
    with pytest.raises(WorkCancelled):
        worker.run("os:getpid", {})


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("raise ValueError('bad')", "failed"),
        ("raise MemoryError", "memory"),
        ("raise ConnectionResetError(104, 'x')", "lost"),
        ("raise RuntimeError('[/gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:1')", "lost"),
        ("raise RuntimeError('Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7)')", "lost"),
        ("raise RuntimeError('CUDA error: uncorrectable ECC error encountered')", "lost"),
        ("raise RuntimeError('shape mismatch')", "failed"),
        ("import torch\nraise torch.distributed.DistNetworkError('gone')", "lost"),
        ("try:\n raise ConnectionResetError\nexcept OSError as e:\n raise RuntimeError('no answer') from e", "lost"),
        ("from tasks.study.errors import InputError\nraise InputError('a key')", "input"),
        ("from tasks.runtime.stop_request import JobStopped\nraise JobStopped('at step 3')", "stopped"),
    ],
)
def test_what_a_job_raises_tells_whether_to_try_again(code: str, kind: str) -> None:
    assert answer_job("tests.support.worker_jobs:execute", {"code": code})[0] == kind


def test_the_gravest_answer_of_all_ranks_counts() -> None:
    assert decisive_answer({1: ("done", 1), 0: ("done", 0)}) == ("done", 0)
    assert decisive_answer({0: ("lost", "a"), 1: ("failed", "b")}) == ("failed", "b")
    assert decisive_answer({0: ("failed", "a"), 1: ("memory", "b"), 2: ("done", 2)}) == ("memory", "b")
