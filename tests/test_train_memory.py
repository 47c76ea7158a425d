"""The memory estimate against what really is allocated on the CPU, and its refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from support import REPOSITORY
from support.studies import make_params, study_to_train
from transformers import Qwen2Config, Qwen2ForCausalLM

from tasks.costs.flops import Architecture
from tasks.costs.hardware_choice import choose_hardware
from tasks.costs.memory import (
    GIB,
    Devices,
    MemoryEstimate,
    activation_bytes,
    cache_bytes,
    estimate,
    require_fit,
    sleeping_engine,
    vllm_bytes,
)
from tasks.costs.model_shape import ModelShape, read_shape
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


H100 = 79.1 * GIB


def on(count: int, capacity: float = H100, gpu: bool = True) -> Devices:
    return Devices(count, min(count, 8), sharded=True, capacity=capacity, gpu=gpu)


def estimate_of(params: Params, shape: ModelShape, devices: Devices) -> MemoryEstimate:
    return estimate(params, choose_hardware(params, "72B", shape, devices), shape, devices)


def with_hardware(params: Params, vllm: dict[str, object] | None = None, **values: object) -> Params:
    engine = params.hardware.vllm.model_copy(update=vllm or {})
    return params.model_copy(update={"hardware": params.hardware.model_copy(update={"vllm": engine, **values})})


@pytest.fixture(scope="module")
def paper() -> Params:
    """The published study with one sequence to a micro-batch, recomputed."""
    params = load_params(REPOSITORY / "params.paper.yaml")
    return with_hardware(params, token_budget=6144, gradient_checkpointing=True)


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
    low, usual = (
        estimate_of(with_hardware(paper, token_budget=budget), SMALL, on(4)).update for budget in (64, 2048 + 4096)
    )
    assert low == usual


def test_sharding_divides_what_is_resident_by_the_devices(paper: Params) -> None:
    given = with_hardware(paper, {"tensor_parallel": 1, "memory_share": 0.95})
    hardware = given.hardware.of_size("72B")
    one, many = (estimate(given, hardware, LARGE, on(n)) for n in (1, 32))
    for part in ("parameters", "optimiser", "reference"):
        assert one.resident[part] == pytest.approx(32 * many.resident[part])
    assert one.update["gradients"] == pytest.approx(32 * many.update["gradients"])
    assert one.resident["parameters"] == 4 * LARGE.total
    assert one.resident["optimiser"] == 8 * LARGE.total


def test_the_published_set_up_fits_its_devices_and_not_a_quarter_of_them(paper: Params) -> None:
    require_fit("72B", estimate_of(paper, LARGE, on(32)), on(32), "72B")
    given = with_hardware(paper, {"tensor_parallel": 8, "memory_share": 0.4})
    with pytest.raises(InputError, match=r"needs \d+ GiB on each of its 8 devices \(parameters 33.*optimiser 67"):
        require_fit("72B", estimate_of(given, LARGE, on(8)), on(8), "72B")


def test_a_sleeping_engine_keeps_more_the_more_devices_it_spans_and_a_server_nothing(paper: Params) -> None:
    def kept(**vllm: object) -> float:
        return sleeping_engine(with_hardware(paper, vllm).hardware.of_size("72B"), on(8)) / GIB

    assert [kept(tensor_parallel=n) for n in (1, 2, 8)] == pytest.approx([3, 4 + 1 / 3, 7])
    assert kept(tensor_parallel=8, mode="server") == 0
    assert sleeping_engine(paper.hardware.of_size("72B"), on(8, gpu=False)) == 0


def test_adapters_need_no_second_model_and_little_for_the_optimizer(paper: Params) -> None:
    given = with_hardware(paper, {"tensor_parallel": 8, "memory_share": 0.4})
    train = given.train.model_copy(update={"lora": Lora(rank=16, alpha=32.0)})
    whole, low = (estimate_of(p, LARGE, on(8)) for p in (given, given.model_copy(update={"train": train})))
    assert low.resident["reference"] == 0
    assert low.resident["optimiser"] < 0.01 * whole.resident["optimiser"]


def test_the_transformers_engine_pays_for_a_whole_model_and_its_cache(paper: Params) -> None:
    train = paper.train.model_copy(update={"engine": "transformers"})
    given = with_hardware(paper.model_copy(update={"train": train}), generation_batch=1024)
    needed = estimate_of(given, SMALL, on(4))
    assert needed.resident["sampler"] == 2 * SMALL.total
    assert needed.rollout["key-value cache"] == cache_bytes(SMALL, 1024 * 6144, 2)
    assert cache_bytes(SMALL, 1, 2) == 2 * 24 * 2 * 64 * 2


# Values that are null


def test_a_sampler_spans_as_few_devices_as_hold_the_model(paper: Params) -> None:
    given = with_hardware(paper, {"memory_share": 0.4})
    assert choose_hardware(given, "72B", SMALL, on(4)).vllm.tensor_parallel == 1
    assert choose_hardware(given, "72B", LARGE, on(32)).vllm.tensor_parallel == 8
    with pytest.raises(InputError, match="does not hold the model's 135 GiB"):
        choose_hardware(given, "72B", LARGE, on(2))


def test_devices_of_an_engine_share_the_heads_equally(paper: Params) -> None:
    narrow = with_hardware(paper, {"memory_share": 0.011})  # 14 heads: two devices do not hold it, four cannot share it
    with pytest.raises(InputError, match="does not hold the model's"):
        choose_hardware(narrow, "0.5B", SMALL, on(4))
    with pytest.raises(InputError, match=r"tensor_parallel is 4, .* the model's 14 heads"):
        choose_hardware(with_hardware(paper, {"tensor_parallel": 4}), "0.5B", SMALL, on(4))


@pytest.mark.parametrize(("shape", "count"), [(SMALL, 4), (LARGE, 32)])
def test_what_is_chosen_fits_and_more_would_not(paper: Params, shape: ModelShape, count: int) -> None:
    free = with_hardware(paper, token_budget=None, gradient_checkpointing=None, generation_batch=None)
    devices = on(count)
    chosen = choose_hardware(free, "72B", shape, devices)
    needed = estimate(free, chosen, shape, devices)
    require_fit("chosen", needed, devices, "72B")
    assert chosen.gradient_checkpointing == (shape is LARGE)
    assert 6144 <= chosen.token_budget <= 32768
    if shape is LARGE:
        more = chosen.model_copy(update={"token_budget": chosen.token_budget + 1024})
        assert estimate(free, more, shape, devices).needed > devices.usable
        wider = chosen.vllm.model_copy(update={"memory_share": chosen.vllm.memory_share + 0.01})
        asleep = sum(needed.resident.values())
        assert asleep + vllm_bytes(chosen.model_copy(update={"vllm": wider}), devices) > devices.usable


def test_a_given_value_is_kept_and_a_mapping_speaks_for_the_sizes_it_names(paper: Params) -> None:
    given = with_hardware(paper, token_budget={"72B": 7000}, gradient_checkpointing={"0.5B": True})
    large, small = (choose_hardware(given, size, SMALL, on(4)) for size in ("72B", "0.5B"))
    assert (large.token_budget, large.gradient_checkpointing) == (7000, False)
    assert (small.token_budget, small.gradient_checkpointing) == (32768, True)


def test_where_there_is_no_gpu_a_null_is_the_keys_default(paper: Params) -> None:
    free = with_hardware(paper, token_budget=None, gradient_checkpointing=None, generation_batch=None)
    assert choose_hardware(free, "72B", SMALL, on(1, gpu=False)) == free.hardware.of_size("72B")
    assert free.hardware.of_size("72B").token_budget == 16384


def test_where_the_default_does_not_fit_a_small_machine_a_null_is_as_many_as_do(paper: Params) -> None:
    free = with_hardware(paper, token_budget=None, gradient_checkpointing=None, generation_batch=None)
    free = free.model_copy(update={"train": free.train.model_copy(update={"engine": "transformers"})})
    machine = on(1, capacity=32 * GIB, gpu=False)
    default = estimate(free, free.hardware.of_size("72B"), SMALL, machine)
    chosen = choose_hardware(free, "72B", SMALL, machine)
    assert default.needed > machine.usable >= estimate(free, chosen, SMALL, machine).needed
    assert chosen.token_budget <= 16384
    assert chosen.generation_batch <= 1024


def test_a_size_that_the_family_lacks_is_refused_by_key(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"hardware.token_budget names size '9k', but .* has only \['3k'"):
        make_params(tmp_path, hardware={"token_budget": {"9k": 64}})


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
