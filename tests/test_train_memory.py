"""The memory estimate against what really is allocated on the CPU, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support import REPOSITORY
from support.studies import study_to_train
from transformers import Qwen2Config, Qwen2ForCausalLM

from tasks.costs.flops import Architecture
from tasks.costs.memory import (
    GIB,
    ModelShape,
    activation_bytes,
    cache_bytes,
    devices_per_engine,
    estimate,
    read_shape,
    require_fit,
)
from tasks.policy.packing import PromptGroup, pack
from tasks.policy.policy_model import Policy, load_model
from tasks.runtime.gpu_locks import Device
from tasks.study.errors import InputError
from tasks.study.params import Lora, Params, load_params
from tasks.study.paths import StudyPaths
from tasks.train.lora import add_adapters
from tasks.train.placement import choose_placement

LARGE = ModelShape(Architecture(8192, 80, 64, 8, 128, 29568, 152064), tied=False)
SMALL = ModelShape(Architecture(896, 24, 14, 2, 64, 4864, 151936), tied=True)


@pytest.fixture(scope="module")
def paper() -> Params:
    return load_params(REPOSITORY / "params.paper.yaml")


def _config(**changes: object) -> Qwen2Config:
    values = {"hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2}
    values |= {"intermediate_size": 160, "vocab_size": 97, "tie_word_embeddings": False} | changes
    return Qwen2Config(**values)


def _shape(config: Qwen2Config, folder: Path) -> ModelShape:
    config.save_pretrained(folder)
    return read_shape(folder)


@pytest.mark.parametrize("tied", [True, False])
def test_parameters_are_counted_exactly(tmp_path: Path, tied: bool) -> None:
    config = _config(tie_word_embeddings=tied)
    model = Qwen2ForCausalLM(config)
    assert _shape(config, tmp_path).total == sum(p.numel() for p in model.parameters())


def test_adapters_are_counted_exactly(tmp_path: Path) -> None:
    model, lora = Qwen2ForCausalLM(_config()), Lora(rank=3, alpha=6.0)
    add_adapters(model, lora)
    counted = _shape(_config(), tmp_path).adapters(lora.rank, lora.targets)
    assert counted == sum(p.numel() for p in model.parameters() if p.requires_grad)


def test_activations_are_what_autograd_keeps(tmp_path: Path) -> None:
    config = _config(hidden_size=128, intermediate_size=320, num_hidden_layers=4)
    policy = Policy(Qwen2ForCausalLM(config))
    groups = [PromptGroup(tuple(range(1, 41)), tuple(tuple(range(2, 62)) for _ in range(4))) for _ in range(4)]
    packed = pack(groups)
    owned = {p.untyped_storage().data_ptr() for p in policy.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned and tensor.is_floating_point():
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        policy(packed)
    rows = packed.input_ids.numel()
    predicted = activation_bytes(_shape(config, tmp_path), rows, 4, False)
    assert sum(kept.values()) == pytest.approx(predicted, rel=0.2)


def test_recomputing_keeps_each_layers_input_and_one_layer_whole() -> None:
    whole, recomputed = (activation_bytes(LARGE, 1000, 2, on) for on in (False, True))
    assert recomputed == pytest.approx(whole / 80 + 1000 * 80 * 8192 * 2)


def test_a_budget_below_the_longest_sequence_does_not_lower_the_estimate(paper: Params) -> None:
    low = paper.model_copy(update={"hardware": paper.hardware.model_copy(update={"token_budget": 64})})
    activations = estimate(low, SMALL, 4, True, 80 * GIB).update["activations"]
    assert activations == activation_bytes(SMALL, 2048 + 4096, 2, True)


def test_sharding_divides_what_is_resident_by_the_devices(paper: Params) -> None:
    one, many = (estimate(paper, LARGE, n, True, 80 * GIB) for n in (1, 32))
    for part in ("parameters", "gradients", "optimiser", "reference"):
        assert one.resident[part] == pytest.approx(32 * many.resident[part])
    assert one.resident["parameters"] == 4 * LARGE.total
    assert one.resident["optimiser"] == 8 * LARGE.total


def test_the_published_set_up_fits_its_devices_and_not_a_quarter_of_them(paper: Params) -> None:
    require_fit("72B", estimate(paper, LARGE, 32, True, 80 * GIB), 80 * GIB, 32, "72B")
    with pytest.raises(InputError, match=r"needs \d+ GiB on each of its 8 devices \(parameters 33.*optimiser 67"):
        require_fit("72B", estimate(paper, LARGE, 8, True, 80 * GIB), 80 * GIB, 8, "72B")


def test_adapters_need_no_second_model_and_little_for_the_optimizer(paper: Params) -> None:
    train = paper.train.model_copy(update={"lora": Lora(rank=16, alpha=32.0)})
    whole, low = (estimate(p, LARGE, 8, True, 80 * GIB) for p in (paper, paper.model_copy(update={"train": train})))
    assert low.resident["reference"] == 0
    assert low.resident["optimiser"] < 0.01 * whole.resident["optimiser"]


def test_the_transformers_engine_pays_for_a_whole_model_and_its_cache(paper: Params) -> None:
    train = paper.train.model_copy(update={"engine": "transformers"})
    needed = estimate(paper.model_copy(update={"train": train}), SMALL, 4, True, 80 * GIB)
    assert needed.resident["sampler"] == 2 * SMALL.total
    assert needed.rollout["key-value cache"] == cache_bytes(SMALL, 1024 * 6144, 2)
    assert cache_bytes(SMALL, 1, 2) == 2 * 24 * 2 * 64 * 2


def test_a_sampler_spans_as_few_devices_as_hold_the_model(paper: Params) -> None:
    assert devices_per_engine(paper, SMALL, 4, 80 * GIB) == 1
    assert devices_per_engine(paper, LARGE, 8, 80 * GIB) == 8
    with pytest.raises(InputError, match="does not hold the model's 135 GiB"):
        devices_per_engine(paper, LARGE, 2, 80 * GIB)


@pytest.mark.slow
def test_a_run_that_cannot_fit_is_refused_before_anything_starts(tmp_path: Path) -> None:
    params, run = study_to_train(tmp_path)
    folder = StudyPaths.of(params).model(run.model)
    assert read_shape(folder).total == sum(p.numel() for p in load_model(folder, "float32").parameters())
    assert choose_placement(params, run, (Device("GPU-a", 8 << 30),)).gpu
    with pytest.raises(InputError, match=rf"run {run.run_id} needs .* GiB on each of its 1 devices"):
        choose_placement(params, run, (Device("GPU-a", 1 << 20),))


def test_a_config_without_a_width_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 2}))
    with pytest.raises(InputError, match="key 'hidden_size' is missing"):
        read_shape(tmp_path)
