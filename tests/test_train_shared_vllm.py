"""FSDP2 over two processes and one vLLM engine with tensor parallelism over both, the whole loop, on the CPU build.

The weights go from each process to the worker beside it (`tasks.sampling.vllm.buckets`), through shared memory where
GPUs would use CUDA IPC.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from support import REPOSITORY
from support.studies import copy_study, numbers, study_to_train

from tasks.runtime.job_answers import WorkerDied
from tasks.runtime.workers import Worker
from tasks.study.grid import Run
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.train.launch import TRAIN_TASK, accelerate_command, launch_environment
from tasks.train.placement import CONFIGS, Placement

pytestmark = [pytest.mark.slow, pytest.mark.vllm]

SINGLE = Placement(1, 1, CONFIGS / "cpu.yaml", False, False)
SHARDED = Placement(2, 1, CONFIGS / "fsdp2_one_node.yaml", True, False)
TRAIN = {"steps": 3, "batch": 8, "group_size": 4, "minibatch": 4}
LOSE_ENGINE = "tests.support.worker_jobs:lose_engine_once"


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Worker]]:
    pytest.importorskip("vllm", reason="vLLM is not installed; `make setup ENGINE=vllm`")
    root = tmp_path_factory.mktemp("workers")
    hardware = study_to_train(root / "study")[0].hardware
    made = {}
    for name, placement in {"single": SINGLE, "sharded": SHARDED}.items():
        environment = launch_environment(hardware, placement) | {"PYTHONPATH": str(REPOSITORY)}
        made[name] = Worker(accelerate_command(hardware, placement), environment, root / "log", placement.num_processes)
    yield made
    for worker in made.values():
        worker.end()


def train(source: Params, root: Path, engine: str) -> tuple[Params, Run, dict[str, Any]]:
    """A copy of a study with an engine; also the arguments of its job."""
    params, run = copy_study(source, root, train=TRAIN | {"engine": engine})
    return params, run, {"params": params.model_dump_json(), "run": asdict(run), "fingerprint": "mark"}


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def assert_equal_rows(params: Params, run: Run, expected: tuple[Params, Run]) -> None:
    """Rows as those of one process that samples with the transformers engine."""
    rows, others = numbers(params, run), numbers(*expected)
    assert len(rows) == len(others) == 4
    for row, other in zip(rows, others, strict=True):
        for key, value in other.items():
            if key in {"sampler_fingerprint", "mismatch_kl", "mismatch_share", "flops", "flops_total"}:
                continue  # digests of bits; rounding errors; the pass for old log-probabilities
            assert row[key] == (value if value is None else pytest.approx(value, rel=1e-6, abs=1e-6)), key
    assert all(row["mismatch_kl"] < 1e-9 for row in rows[1:])
    assert len({row["sampler_fingerprint"] for row in rows}) == 4


def test_an_untied_model_trains_over_two_processes_and_one_engine_as_in_one_process(
    workers: dict[str, Worker], tmp_path: Path
) -> None:
    source, _ = study_to_train(tmp_path / "source", untied=True)
    params, run, job = train(source, tmp_path / "shared", "vllm")
    workers["sharded"].run(TRAIN_TASK, job)
    alone, same, job = train(source, tmp_path / "alone", "transformers")
    workers["single"].run(TRAIN_TASK, job)
    assert_equal_rows(params, run, (alone, same))


def test_a_tied_model_whose_engine_dies_goes_on_at_its_checkpoint_and_ends_as_in_one_process(
    workers: dict[str, Worker], tmp_path: Path
) -> None:
    source, _ = study_to_train(tmp_path / "source")
    params, run, job = train(source, tmp_path / "shared", "vllm")
    with pytest.raises(WorkerDied):  # which is tried again, whatever each of the processes said
        workers["sharded"].run(LOSE_ENGINE, job)
    lost = json.loads((StudyPaths.of(params).run(run) / "lost.json").read_text())
    assert len(lost) == 3  # the engine's core and a worker for each of the two devices
    assert not any(is_running(pid) for pid in lost)
    workers["sharded"].run(LOSE_ENGINE, job)
    alone, same, job = train(source, tmp_path / "alone", "transformers")
    workers["single"].run(TRAIN_TASK, job)
    assert_equal_rows(params, run, (alone, same))
