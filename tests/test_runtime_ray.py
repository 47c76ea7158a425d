"""Jobs on a Ray cluster: nodes of a real one on this machine, one of which is killed while it trains."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import REPOSITORY
from support.studies import copy_study, numbers, study_to_evaluate, study_to_train

from tasks.evaluate.launch import EvaluationLauncher
from tasks.evaluate.run import EvaluationRequest
from tasks.records.samples import read_samples
from tasks.runtime.executors import open_executor
from tasks.runtime.executors.executor import JobState, NodeJob
from tasks.runtime.executors.ray_jobs import RayExecutor
from tasks.runtime.launches import read_launch
from tasks.study.errors import InputError
from tasks.study.manifests import verify
from tasks.study.params import Hardware, Params
from tasks.study.paths import StudyPaths
from tasks.study.policies import benchmark_names, list_policies
from tasks.train.launch import RunLauncher, train_once

ON_RAY = {"executor": "ray", "gpus_per_node": 0, "workers": None}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head without resources and two nodes of 2 cores and 8 made-up GPUs; RAY_ADDRESS names it."""
    from ray.cluster_utils import Cluster

    before = os.environ | {}
    os.environ |= {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "RAY_USAGE_STATS_ENABLED": "0"}
    quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
    head = {"num_cpus": 0, "include_dashboard": False, "_system_config": quick}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2, num_gpus=8)
        os.environ["RAY_ADDRESS"] = cluster.address
        yield cluster
    finally:
        cluster.shutdown()
        os.environ.clear()
        os.environ.update(before)


def _job(folder: Path, script: str, **place: Any) -> NodeJob:
    folder.mkdir()
    return NodeJob("job", ("bash", "-c", script), folder / "job.json", **place)


def _end(executor: RayExecutor, job_id: str, seconds: float = 60.0) -> JobState:
    deadline = time.monotonic() + seconds
    while (state := executor.state(job_id)).kind != "ended":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return state


def _processes_naming(text: str) -> list[psutil.Process]:
    """Processes other than this one whose command line holds a text."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if process.pid != os.getpid() and any(text in word for word in process.info["cmdline"] or ()):
            found.append(process)
    return found


@pytest.mark.slow
def test_nodes_of_a_job_are_distinct_know_one_another_and_have_their_gpus(cluster: Any, tmp_path: Path) -> None:
    executor = RayExecutor()
    names = "echo $NODE_RANK $MASTER_ADDR:$MASTER_PORT $CUDA_VISIBLE_DEVICES $RAY_NODE_ID"
    wide = executor.submit(_job(tmp_path / "wide", names, num_nodes=2, gpus_per_node=8))
    failing = executor.submit(_job(tmp_path / "failing", "exit 3"))
    too_wide = executor.submit(_job(tmp_path / "too-wide", "true", num_nodes=3))
    assert _end(executor, wide) == JobState("ended", "status 0")
    assert _end(executor, failing) == JobState("ended", "status 3")
    assert executor.state(too_wide).kind == "queued"
    executor.cancel(too_wide)
    said = [(tmp_path / "wide" / f"output-{node}.log").read_text().split() for node in (0, 1)]
    assert [words[0] for words in said] == ["0", "1"]
    assert said[0][1] == said[1][1]
    assert all(words[2] == "0,1,2,3,4,5,6,7" for words in said)

    lasting = executor.submit(_job(tmp_path / "lasting", f"echo $$ > {tmp_path}/pid; sleep 60"))
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        time.sleep(0.05)
    executor.cancel(lasting)
    program, limit = int((tmp_path / "pid").read_text()), time.monotonic() + 30
    while psutil.pid_exists(program) and time.monotonic() < limit:  # Ray answers before the task has cleaned up
        time.sleep(0.05)
    assert not psutil.pid_exists(program)
    executor.close()


@pytest.mark.slow
def test_a_node_killed_while_a_run_trains_on_it_changes_no_byte(cluster: Any, tmp_path: Path) -> None:
    from ray.util import placement_group_table

    source = study_to_train(tmp_path / "source")[0]
    changes: dict[str, Any] = {"train": {"steps": 24, "batch": 8, "group_size": 4, "minibatch": 4}}
    whole = copy_study(source, tmp_path / "whole", **changes)
    broken = copy_study(source, tmp_path / "broken", **changes, hardware=source.hardware.model_dump() | ON_RAY)
    with RunLauncher(whole[0]) as launcher:
        train_once(*whole, launcher)
    paths = StudyPaths.of(broken[0])
    with ThreadPoolExecutor(1) as threads, RunLauncher(broken[0]) as launcher:
        training = threads.submit(train_once, *broken, launcher)
        while not list(paths.checkpoints(broken[1]).glob("*/manifest.json")):
            assert not training.done(), training.result()
            time.sleep(0.01)
        processes = _processes_naming(str(tmp_path / "broken"))
        for process in processes:  # as on a machine that is gone: they neither go on nor say anything
            process.suspend()
        groups = [group for group in placement_group_table().values() if group["state"] == "CREATED"]
        [place] = groups[0]["bundles_to_node_id"].values()
        [node] = [node for node in cluster.list_all_nodes() if node.node_id == place]
        cluster.remove_node(node, allow_graceful=False)
        for process in processes:
            process.kill()
        training.result(timeout=120)
    folder = paths.run(broken[1])
    assert len(list((folder / "launches").iterdir())) == 2
    assert numbers(*broken) == numbers(*whole)
    for file in StudyPaths.of(whole[0]).final(whole[1]).iterdir():
        assert (paths.final(broken[1]) / file.name).read_bytes() == file.read_bytes(), file.name
    assert verify(folder) == []
    launch = read_launch(folder)
    assert launch is not None
    assert (launch.executor, launch.kind) == ("ray", "ended")


@pytest.mark.slow
def test_evaluation_on_the_cluster_gives_the_same_samples(cluster: Any, tmp_path: Path) -> None:
    def evaluate(params: Params) -> list[Any]:
        policies = tuple(list_policies(params))
        with EvaluationLauncher(params) as launcher:
            assert launcher.run(EvaluationRequest(params, policies, benchmark_names(params))) == 8
        return [read_samples(StudyPaths.of(params).samples(policy, "hard")) for policy in policies]

    here = study_to_evaluate(tmp_path / "here")
    there = study_to_evaluate(tmp_path / "there")
    hardware = Hardware(**(there.hardware.model_dump() | ON_RAY))
    assert evaluate(here) == evaluate(there.model_copy(update={"hardware": hardware}))


def test_without_an_address_ray_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with pytest.raises(InputError, match="set RAY_ADDRESS"):
        open_executor(Hardware(executor="ray"), "train")
