"""`rlscale evaluate` for single policies, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.studies import study_to_evaluate

from flows.cli.main import main
from tasks.evaluate.requests import make_requests
from tasks.evaluate.run import missing
from tasks.study.errors import InputError
from tasks.study.params import Params
from tasks.study.policies import benchmark_names, list_policies

pytestmark = pytest.mark.slow


@pytest.fixture
def study(tmp_path: Path) -> Params:
    return study_to_evaluate(tmp_path, sizes=("3k", "7k"))


def test_all_evaluations_of_a_size_are_one_request_with_initial_checkpoints_and_runs(study: Params) -> None:
    orders = make_requests(study)
    assert [{subject.size for subject in order.policies} for order in orders] == [{"3k"}, {"7k"}]
    assert [len(order.policies) for order in orders] == [4, 4]
    assert all(order.root is None and order.benchmarks == ("heldout", "hard") for order in orders)


def test_another_engine_never_writes_where_the_studys_scores_lie(study: Params) -> None:
    (order, _) = make_requests(study, engine="vllm")
    assert order.params.evaluate.engine == "vllm"
    assert order.root is not None
    assert order.root.name == "vllm"
    (same, _) = make_requests(study, engine="transformers")
    assert same.root is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"run_id": "nobody"}, "run id 'nobody' matches 0 of 8 policies"),
        ({"run_id": "base-"}, "run id 'base-' matches 2 of 8 policies"),
        ({"benchmarks": ["gsm9k"]}, "benchmark 'gsm9k' is not in the params file; it has heldout, hard"),
        ({"engine": "sglang"}, "engine 'sglang' is not known"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(study: Params, arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_requests(study, **arguments)


def test_one_policy_on_one_benchmark_from_the_command_line(
    study: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", "initial-7k-base", "--params", str(tmp_path / "params.yaml"), "--benchmarks", "hard"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json"])
    assert ended.value.code == 0
    (score,) = json.loads(capsys.readouterr().out)
    assert (score["run_id"], score["benchmark"], score["samples"]) == ("initial-7k-base", "hard", 3)
    subject = next(s for s in list_policies(study) if s.name == "initial-7k-base")
    assert missing(study, subject, benchmark_names(study)) == ["heldout"]


def test_a_wrong_run_id_ends_with_one_sentence_and_code_2(
    study: Params, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "nobody", "--params", str(tmp_path / "params.yaml")])
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
