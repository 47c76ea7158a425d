"""Training on two processes over gloo, started by a real `accelerate launch`: DDP, FSDP2, adapters, bfloat16.

Each kind of launch is started once and trains many runs. Not covered: more than two processes, and NCCL.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support import REPOSITORY
from support.studies import copy_study, numbers, study_to_train
from transformers import Qwen2Config, Qwen2ForCausalLM

from tasks.runtime.job_answers import JobFailed
from tasks.runtime.workers import Worker
from tasks.sampling.protocol import Request, SamplingSettings
from tasks.sampling.transformers_engine import TransformersEngine
from tasks.study.grid import Run, expand_grid
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.train.launch import TRAIN_TASK, accelerate_command, launch_environment
from tasks.train.placement import CONFIGS, Placement

pytestmark = pytest.mark.slow

MARK = "tiny"
SPREAD = {
    "single": Placement(1, 1, CONFIGS / "cpu.yaml", False, False),
    "ddp": Placement(2, 1, CONFIGS / "cpu.yaml", False, False),
    "fsdp": Placement(2, 1, CONFIGS / "fsdp2_one_node.yaml", True, False),
}
TRAIN = {"steps": 3, "batch": 8, "group_size": 4, "minibatch": 4}
SWITCHES: dict[str, dict[str, Any]] = {
    "ppo": {
        "clip_dual": 3.0, "kl_clamp": 10.0, "entropy_coefficient": 0.01, "mask_truncated": True, "overlong_buffer": 4
    },
    "gspo": {"loss": "gspo", "aggregation": "sequence_mean", "importance_cap": 2.0},
    "dr_grpo": {"advantage_scale": "none", "aggregation": "constant_length", "loss": "cispo"},
}  # fmt: skip
Study = tuple[Params, Run]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Params:
    return study_to_train(tmp_path_factory.mktemp("source"))[0]


@pytest.fixture(scope="module")
def workers(source: Params, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Worker]]:
    log = tmp_path_factory.mktemp("log") / "workers.log"
    made = {}
    for name, placement in SPREAD.items():
        environment = launch_environment(source.hardware, placement) | {"PYTHONPATH": str(REPOSITORY)}
        made[name] = Worker(accelerate_command(source.hardware, placement), environment, log, placement.num_processes)
    yield made
    for worker in made.values():
        worker.end()


@pytest.fixture(scope="module")
def trained(source: Params, workers: dict[str, Worker], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Study]:
    """The plain run, trained in each way."""
    return {name: _train(workers[name], source, tmp_path_factory.mktemp(name) / "study") for name in SPREAD}


def _train(worker: Worker, source: Params, root: Path, **train: Any) -> Study:
    params, run = copy_study(source, root, train=TRAIN | train)
    _again(worker, params, run)
    return params, run


def _again(worker: Worker, params: Params, run: Run) -> None:
    worker.run(TRAIN_TASK, {"params": params.model_dump_json(), "run": asdict(run), "fingerprint": MARK})


def _weights(study: Study) -> dict[str, torch.Tensor]:
    return load_file(StudyPaths.of(study[0]).final(study[1]) / "model.safetensors")


def _assert_close(
    first: Study, second: Study, tolerance: float = 1e-5, rounding: float = 1e-8, ignoring: frozenset[str] = frozenset()
) -> None:
    rows = zip(numbers(*first), numbers(*second), strict=True)
    for one, two in rows:
        for key in one:
            if key in {"sampler_fingerprint", "mismatch_kl"} | ignoring:
                continue  # a digest of bits; nothing but rounding errors
            if one[key] is None:
                assert two[key] is None, (one["step"], key)
            else:
                assert one[key] == pytest.approx(two[key], rel=tolerance, abs=rounding), (one["step"], key)
    weights, others = _weights(first), _weights(second)
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, others[name], rtol=tolerance, atol=1e-6)


def test_the_run_learns_so_that_comparing_it_means_something(trained: dict[str, Study]) -> None:
    rows = numbers(*trained["single"])
    assert [row["step"] for row in rows] == [0, 1, 2, 3]
    assert all(row["reward_mean"] > 0 and row["grad_norm"] > 0.1 for row in rows[1:])
    assert len({row["sampler_fingerprint"] for row in rows}) == 4


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_two_processes_train_like_one(trained: dict[str, Study], mode: str) -> None:
    _assert_close(trained["single"], trained[mode])


@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
@pytest.mark.parametrize("name", SWITCHES)
def test_two_processes_train_like_one_with_every_switch_of_the_loss(
    workers: dict[str, Worker], source: Params, tmp_path: Path, mode: str, name: str
) -> None:
    changes = {
        "objective": source.train.objective.model_dump() | SWITCHES[name],
        "optimizer": source.train.optimizer.model_dump() | {"warmup_steps": 2},
    }
    studies = [_train(workers[way], source, tmp_path / way, float32_head=True, **changes) for way in ("single", mode)]
    _assert_close(*studies, rounding=1e-7)  # with sequences' ratios at 1 the terms of a group's loss cancel


@pytest.mark.parametrize("mode", ["single", "ddp", "fsdp"])
def test_a_run_killed_after_its_last_row_and_resumed_is_equal_bit_for_bit(
    trained: dict[str, Study], workers: dict[str, Worker], source: Params, tmp_path: Path, mode: str
) -> None:
    params, run = copy_study(source, tmp_path / "study", train=TRAIN)
    _leave_as_killed(trained[mode], (params, run), checkpoint=1)
    _again(workers[mode], params, run)
    assert numbers(params, run) == numbers(*trained[mode])
    weights, others = _weights((params, run)), _weights(trained[mode])
    assert all(torch.equal(weights[name], others[name]) for name in others)


def _leave_as_killed(done: Study, killed: Study, checkpoint: int) -> None:
    """What a finished run would have left, had it been killed after its last row with only this checkpoint."""
    folder, target = StudyPaths.of(done[0]).run(done[1]), StudyPaths.of(killed[0]).run(killed[1])
    name = f"checkpoints/step-{checkpoint:06d}"
    shutil.copytree(folder / name, target / name)
    shutil.copy(folder / "metrics.jsonl", target / "metrics.jsonl")


@pytest.mark.parametrize(("wrote", "resumes"), [("fsdp", "single"), ("single", "fsdp")])
def test_a_checkpoint_resumes_on_another_number_of_processes(
    trained: dict[str, Study], workers: dict[str, Worker], source: Params, tmp_path: Path, wrote: str, resumes: str
) -> None:
    params, run = copy_study(source, tmp_path / "study", train=TRAIN)
    _leave_as_killed(trained[wrote], (params, run), checkpoint=2)
    _again(workers[resumes], params, run)
    _assert_close(trained["single"], (params, run))


def test_four_three_and_one_process_continue_one_run_with_recomputed_layers(
    trained: dict[str, Study], source: Params, tmp_path: Path
) -> None:
    hardware = source.hardware.model_dump() | {"gradient_checkpointing": True}
    before = None
    for count, checkpoint in ((4, 0), (3, 1), (1, 2)):  # 3 divides neither the rows nor the tensors
        config = CONFIGS / ("cpu.yaml" if count == 1 else "fsdp2_one_node.yaml")
        placement = Placement(count, 1, config, count > 1, False)
        study = copy_study(source, tmp_path / str(count), train=TRAIN, hardware=hardware)
        if before is not None:
            _leave_as_killed(before, study, checkpoint)
        environment = launch_environment(source.hardware, placement) | {"PYTHONPATH": str(REPOSITORY)}
        command = accelerate_command(source.hardware, placement)
        worker = Worker(command, environment, tmp_path / "workers.log", placement.num_processes)
        try:
            _again(worker, *study)
        finally:
            worker.end()
        _assert_close(trained["single"], study, ignoring=frozenset({"flops", "flops_total"}))
        before = study


def test_a_sharded_checkpoint_holds_each_process_s_rows_once(trained: dict[str, Study]) -> None:
    parts = {name: StudyPaths.of(trained[name][0]).checkpoints(trained[name][1]) / "step-000001" for name in trained}
    whole = load_file(parts["single"] / "weights.safetensors")
    first, second = (load_file(parts["fsdp"] / f"weights-0000{n}-of-00002.safetensors") for n in (1, 2))
    assert first.keys() == second.keys() == whole.keys()
    for name, tensor in whole.items():
        torch.testing.assert_close(torch.cat([first[name], second[name]]), tensor, rtol=1e-5, atol=1e-6)
        assert first[name].shape[0] == -(-tensor.shape[0] // 2)


def test_adapters_train_alike_on_one_process_and_sharded(
    workers: dict[str, Worker], source: Params, tmp_path: Path
) -> None:
    lora = {"rank": 2, "alpha": 4.0}
    one = _train(workers["single"], source, tmp_path / "one", lora=lora)
    _assert_close(one, _train(workers["fsdp"], source, tmp_path / "fsdp", lora=lora))
    before = load_file(StudyPaths.of(source).model(one[1].model) / "model.safetensors")
    after = _weights(one)
    assert after.keys() == before.keys()
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in before if name.endswith("_proj.weight")}
    held = load_file(StudyPaths.of(one[0]).checkpoints(one[1]) / "step-000001" / "weights.safetensors")
    assert all(".lora_" in name for name in held)
    assert numbers(*one)[1]["kl"] == pytest.approx(0.0, abs=1e-2)


def test_bfloat16_keeps_float32_master_weights_and_follows_the_float32_run(
    trained: dict[str, Study], workers: dict[str, Worker], source: Params, tmp_path: Path
) -> None:
    params, run = _train(workers["fsdp"], source, tmp_path / "low", precision="bfloat16")
    held = load_file(StudyPaths.of(params).checkpoints(run) / "step-000002" / "weights-00001-of-00002.safetensors")
    assert {tensor.dtype for tensor in held.values()} == {torch.float32}
    assert any(not torch.equal(tensor, tensor.bfloat16().float()) for tensor in held.values())
    assert {tensor.dtype for tensor in _weights((params, run)).values()} == {torch.bfloat16}
    low, full = numbers(params, run)[1], numbers(*trained["single"])[1]
    assert low["loss"] != full["loss"]
    assert low["grad_norm"] == pytest.approx(full["grad_norm"], rel=0.05)


def test_processes_that_share_an_engine_draw_what_each_would_draw_alone(
    workers: dict[str, Worker], source: Params
) -> None:
    checkpoint = StudyPaths.of(source).model(expand_grid(source)[0].model)
    prompts = [[6, 7, 16], [7], [8, 9, 10, 11], [5, 5], [12, 16]]
    arguments = {"checkpoint": str(checkpoint), "prompts": prompts}
    prints, drawn, opened = workers["ddp"].run("tests.support.worker_jobs:draw_in_groups", arguments)
    engine = TransformersEngine(checkpoint)
    assert prints[0] == prints[2] == engine.fingerprint() != prints[1]
    assert opened == [[0], []]
    settings = SamplingSettings(n=2, temperature=1.0, top_p=1.0, max_tokens=6, seed=5, step=3)
    alone = engine.generate([Request(f"p{n}", tuple(prompt)) for n, prompt in enumerate(prompts)], settings)
    tokens = [[list(completion.tokens) for completion in row] for row in alone]
    assert drawn == [tokens[0::2], tokens[1::2]]


def test_a_rank_that_fails_ends_the_job_for_all_and_the_next_job_finds_new_ones(
    workers: dict[str, Worker], source: Params, tmp_path: Path
) -> None:
    params, run = copy_study(source, tmp_path / "study", train=TRAIN)
    with pytest.raises(JobFailed, match="rank 1 has had enough"):
        workers["ddp"].run("tests.support.worker_jobs:fail_on_rank", {"rank": 1, "message": "rank 1 has had enough"})
    _again(workers["ddp"], params, run)
    assert len(numbers(params, run)) == 4


def test_an_untied_output_embedding_shards_into_units_of_its_own(tmp_path: Path) -> None:
    config = Qwen2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=24
    )
    config.vocab_size, config.tie_word_embeddings = 23, False
    Qwen2ForCausalLM(config).save_pretrained(tmp_path / "untied")
    answers = []
    for sharded in ("false", "true"):
        environment = {"ACCELERATE_USE_CPU": "true", "ACCELERATE_USE_FSDP": sharded, "FSDP_VERSION": "2"}
        worker = Worker([sys.executable, "-m"], environment | {"PYTHONPATH": str(REPOSITORY)}, tmp_path / "log")
        answers.append(worker.run("tests.support.worker_jobs:update_sharded", {"checkpoint": str(tmp_path / "untied")}))
        worker.end()
    (plain, norm, weights), (mode, sharded_norm, sharded_weights) = answers
    assert (plain, mode) == ("single", "fsdp")
    assert sharded_norm == pytest.approx(norm, rel=1e-6)
    assert weights.keys() == sharded_weights.keys()
    for name, values in weights.items():
        torch.testing.assert_close(torch.tensor(values), torch.tensor(sharded_weights[name]), rtol=1e-5, atol=1e-6)
