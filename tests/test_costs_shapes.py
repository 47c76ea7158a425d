"""The published models' shapes, against transformers on the meta device, the published counts and vLLM's own checks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import REPOSITORY

from tasks.costs.hardware_choice import choose_hardware
from tasks.costs.memory import GIB, Devices
from tasks.costs.model_shape import ModelShape, published_configs
from tasks.study.errors import InputError
from tasks.study.params import HubModel, load_params

CONFIGS = published_configs()
NON_EMBEDDING = {"0.5B": 0.36, "1.5B": 1.31, "3B": 2.77, "7B": 6.53, "14B": 13.1, "32B": 31.0, "72B": 70.0}
"""Billions, from the models' cards."""
HEADS_SHARED = {"0.5B": (1, 2), "1.5B": (1, 2, 4), "7B": (1, 2, 4)}
"""Tensor parallelism that vLLM takes; the others: 1, 2, 4 and 8."""
PAPER = load_params(REPOSITORY / "params.paper.yaml")


def write_checkpoint(folder: Path, repository: str, stops: object) -> None:
    config = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "eos_token_id": 151643}
    (folder / "config.json").write_text(json.dumps(config | CONFIGS[repository]))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": stops}))


def test_every_size_of_the_published_family_is_in_the_table() -> None:
    models = PAPER.pretrain.family.models
    assert [model.base for model in models if isinstance(model, HubModel)] == list(CONFIGS)


@pytest.mark.parametrize("repository", CONFIGS)
def test_parameters_are_those_that_transformers_makes_and_the_card_says(repository: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from tasks.policy.policy_model import count_parameters
    from tasks.sampling.vllm.requests import stop_token_ids
    from tasks.train.parallel import build_on_meta

    write_checkpoint(tmp_path, repository, stops=[151645, 151643])
    model, shape = build_on_meta(tmp_path, torch.bfloat16), ModelShape.from_config(CONFIGS[repository])
    total, inner = count_parameters(model)
    assert total == CONFIGS[repository]["parameters"] == shape.total
    assert inner == shape.architecture.n_params
    assert inner / 1e9 == pytest.approx(NON_EMBEDDING[repository.rpartition("-")[2]], rel=0.01)
    assert all(p.device.type == "meta" for p in model.parameters())
    assert ("lm_head.weight" in dict(model.named_parameters())) != shape.tied
    assert model.generation_config.eos_token_id == stop_token_ids(tmp_path) == [151645, 151643]


@pytest.mark.parametrize("repository", CONFIGS)
def test_a_base_model_stops_at_its_own_token_alone(repository: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tasks.sampling.vllm.requests import stop_token_ids

    write_checkpoint(tmp_path, repository, stops=151643)
    assert stop_token_ids(tmp_path) == [151643]


@pytest.mark.parametrize("repository", CONFIGS)
def test_an_engine_spans_what_shares_the_heads(repository: str) -> None:
    size, shape = repository.rpartition("-")[2], ModelShape.from_config(CONFIGS[repository])
    for parallel in (1, 2, 4, 8):
        vllm = PAPER.hardware.vllm.model_copy(update={"tensor_parallel": parallel, "memory_share": 1.0})
        hardware = PAPER.hardware.model_copy(update={"vllm": vllm})
        params = PAPER.model_copy(update={"hardware": hardware})
        if parallel in HEADS_SHARED.get(size, (1, 2, 4, 8)):
            devices = Devices(8, 8, True, 1000 * GIB)
            assert choose_hardware(params, size, shape, devices).vllm.tensor_parallel == parallel
        else:
            with pytest.raises(InputError, match=rf"tensor_parallel is {parallel}, which must divide"):
                choose_hardware(params, size, shape, Devices(8, 8, True, 1000 * GIB))


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.parametrize("repository", CONFIGS)
def test_vllm_takes_the_same_tensor_parallelism(repository: str, tmp_path: Path) -> None:
    config = pytest.importorskip("vllm.config")
    write_checkpoint(tmp_path, repository, stops=151643)
    model = config.ModelConfig(model=str(tmp_path), skip_tokenizer_init=True, dtype="bfloat16", max_model_len=6144)
    for parallel in (1, 2, 4, 8):
        asked = config.ParallelConfig(tensor_parallel_size=parallel, distributed_executor_backend="mp")
        if parallel in HEADS_SHARED.get(repository.rpartition("-")[2], (1, 2, 4, 8)):
            model.verify_with_parallel_config(asked)
        else:
            with pytest.raises(ValueError, match="attention heads"):
                model.verify_with_parallel_config(asked)
