"""The evaluate stage on a tiny study: what is written, what is skipped, what a kill leaves."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support import REPOSITORY
from support.studies import study_to_evaluate

from tasks.evaluate.launch import EvaluationLauncher, to_json
from tasks.evaluate.run import EvaluationRequest, missing, run_request
from tasks.evaluate.steps import write_all
from tasks.records.samples import read_samples
from tasks.records.scores import read_score, read_scores
from tasks.runtime.gpu_locks import lease_gpus, read_devices
from tasks.study.errors import InputError
from tasks.study.manifests import read_manifest, verify
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.policies import benchmark_names, list_policies

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Params:
    params = study_to_evaluate(tmp_path_factory.mktemp("study"))
    run_request(whole(params))
    return params


def whole(params: Params) -> EvaluationRequest:
    return EvaluationRequest(params, tuple(list_policies(params)), benchmark_names(params))


def test_initial_checkpoints_come_first_and_every_run_is_there(study: Params) -> None:
    names = [subject.name for subject in list_policies(study)]
    assert names[:2] == ["initial-3k-base", "initial-3k-instruct"]
    assert [name.split("-")[0] for name in names[2:]] == ["base", "instruct"]


def test_every_problem_has_its_samples_in_order_with_verdicts(study: Params) -> None:
    rows = read_samples(StudyPaths.of(study).samples(list_policies(study)[2], "hard"))
    assert [(row.problem_id, row.sample) for row in rows] == [
        (f"hard-{1000 + a}", sample) for a in range(6) for sample in range(3)
    ]
    assert {row.status for row in rows} <= {"right", "wrong"}
    assert all(row.finish in ("stop", "length") and 1 <= row.tokens <= 12 for row in rows)
    assert all(row.tokens == 12 for row in rows if row.finish == "length")


def test_score_adds_up_the_samples(study: Params) -> None:
    folder = StudyPaths.of(study).evaluation(list_policies(study)[3], "heldout")
    score, rows = read_score(folder / "score.json"), read_samples(folder / "samples.parquet")
    assert (score.problems, score.samples) == (12, 4)
    assert score.right == sum(row.status == "right" for row in rows)
    assert score.mean_length == pytest.approx(sum(row.tokens for row in rows) / 48)
    assert score.truncated == pytest.approx(sum(row.finish == "length" for row in rows) / 48)
    assert sorted(score.pass_at_k) == ["1", "2", "4"]
    assert score.low <= score.pass_at_1 <= score.high
    assert score.engine == "transformers"


def test_a_second_evaluation_finds_nothing_to_do_and_only_a_deleted_pair_is_redone(study: Params) -> None:
    assert run_request(whole(study)) == 0
    folder = StudyPaths.of(study).evaluation(list_policies(study)[2], "hard")
    before = read_manifest(folder)
    assert before is not None
    (folder / "samples.parquet").unlink()
    assert missing(study, list_policies(study)[2], benchmark_names(study)) == ["hard"]
    assert run_request(whole(study)) == 1
    after = read_manifest(folder)
    assert after is not None
    assert after["content"] == before["content"]
    assert verify(folder) == []


def test_collected_scores_have_one_row_per_policy_and_set(study: Params) -> None:
    folder = write_all(study)
    rows = read_scores(StudyPaths.of(study).scores)
    assert [(row.run_id, row.benchmark) for row in rows] == [
        (subject.name, name) for subject in list_policies(study) for name in ("heldout", "hard")
    ]
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest["pairs"] == 8


def test_collecting_with_a_missing_pair_names_it(tmp_path: Path) -> None:
    params = study_to_evaluate(tmp_path)
    with pytest.raises(InputError, match="initial-3k-base has no score on heldout, hard"):
        write_all(params)


def test_an_untrained_run_is_refused_by_name(tmp_path: Path) -> None:
    params = study_to_evaluate(tmp_path)
    run = list_policies(params)[2]
    (StudyPaths.of(params).policy(run) / "manifest.json").unlink()
    with pytest.raises(InputError, match=f"run {run.name} has not been trained"):
        run_request(whole(params))


def test_an_overlong_prompt_is_refused_by_name_and_not_truncated(tmp_path: Path) -> None:
    from tasks.records.problems import Problem, write_problems

    params = study_to_evaluate(tmp_path)
    long = Problem("endless", "arithmetic", (("user", "1+" * 20 + "1="),), "21")
    write_problems(StudyPaths.of(params).heldout, [long], "test")
    with pytest.raises(InputError, match="problem endless: its prompt has"):
        run_request(whole(params))


def test_scores_of_one_policy_do_not_depend_on_what_else_is_evaluated(study: Params, tmp_path: Path) -> None:
    subject = list_policies(study)[3]
    alone = EvaluationRequest(study, (subject,), ("hard",), root=tmp_path)
    assert run_request(alone) == 1
    rows = read_samples(StudyPaths.of(study).samples(subject, "hard", tmp_path))
    assert rows == read_samples(StudyPaths.of(study).samples(subject, "hard"))


def test_a_worker_process_gives_the_same_samples_and_the_launcher_ends_it(study: Params, tmp_path: Path) -> None:
    order = dataclasses.replace(whole(study), root=tmp_path)
    with EvaluationLauncher(study) as launcher:
        assert launcher.slots == 1
        assert launcher.run(order) == 8
    for subject in list_policies(study):
        mine = StudyPaths.of(study).evaluation(subject, "heldout")
        assert read_samples(tmp_path / subject.name / "heldout" / "samples.parquet") == read_samples(
            mine / "samples.parquet"
        )


def test_an_evaluation_killed_in_the_middle_continues_at_the_missing_pairs(tmp_path: Path) -> None:
    params = study_to_evaluate(tmp_path, sizes=("3k", "7k", "25k"))
    order, subjects = whole(params), list_policies(params)
    code = (
        "import json,sys; from tasks.evaluate.launch import evaluate_job; "
        "evaluate_job(json.loads(sys.stdin.read())) and None"
    )
    slow = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, cwd=REPOSITORY, env=slow)
    assert process.stdin is not None
    process.stdin.write(json.dumps(to_json(order)).encode())
    process.stdin.close()
    deadline = time.monotonic() + 600
    while not any(path.is_file() for path in StudyPaths.of(params).stage("evaluate").glob("*/*/manifest.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    left = [(subject.name, name) for subject in subjects for name in missing(params, subject, benchmark_names(params))]
    assert len(left) < 2 * len(subjects)
    assert run_request(order) == len(left)
    assert run_request(order) == 0
    write_all(params)


def _smi(folder: Path, count: int) -> None:
    """A stand-in for `nvidia-smi` on a machine with some GPUs."""
    rows = "".join(f"echo GPU-{index:04d}, 81559\n" for index in range(count))
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\n{rows}")
    (folder / "nvidia-smi").chmod(0o755)


def test_on_gpus_an_evaluation_waits_for_free_devices_and_shares_none(
    study: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _smi(tmp_path, 2)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    locks = tmp_path / "locks"
    monkeypatch.setattr("tasks.runtime.launcher.lock_folder", lambda: locks)
    order = dataclasses.replace(whole(study), root=tmp_path / "scores")
    devices = read_devices(None)
    with ThreadPoolExecutor(1) as thread, EvaluationLauncher(study) as launcher:
        assert launcher.slots == study.hardware.workers == 1
        with lease_gpus(devices, 2, locks, threading.Event()):
            waiting = thread.submit(launcher.run, order)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=1.0)
        assert waiting.result(timeout=300) == 8
    with lease_gpus(devices, 2, locks, threading.Event()):
        pass  # the worker has ended and left nothing locked


def test_too_few_gpus_for_an_engine_are_refused(study: Params, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _smi(tmp_path, 1)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    wide = study.hardware.vllm.model_copy(update={"tensor_parallel": 4})
    hardware = study.hardware.model_copy(update={"vllm": wide})
    with pytest.raises(InputError, match=r"hardware.vllm.tensor_parallel asks for 4 GPUs, 1 are visible"):
        EvaluationLauncher(study.model_copy(update={"hardware": hardware}))
