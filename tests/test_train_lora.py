"""Adapters: what they compute switched off, what merging gives, what is frozen, and how they begin."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from tasks.policy.packing import PackedBatch, PromptGroup, pack
from tasks.policy.policy_model import Policy
from tasks.study.errors import InputError
from tasks.study.params import Lora
from tasks.train.lora import adapted_layers, adapters_off, add_adapters, initial_adapter, is_adapter
from tasks.train.parallel import iter_full_state_dict

LORA = Lora(rank=3, alpha=6.0)


@pytest.fixture
def packed() -> PackedBatch:
    return pack([PromptGroup((1, 2, 3), ((4, 5, 6), (7, 8))), PromptGroup((9, 2), ((3, 3, 3, 1),))])


@pytest.fixture
def models() -> tuple[Policy, Policy]:
    """A plain policy, and the same with adapters that are no longer at their beginning."""
    config = Qwen2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1, intermediate_size=24
    )
    config.vocab_size = 23
    generator = torch.Generator().manual_seed(1)
    plain = Policy(Qwen2ForCausalLM(config))
    adapted = Policy(copy.deepcopy(plain.model))
    add_adapters(adapted.model, LORA)
    with torch.no_grad():
        for name, parameter in adapted.model.named_parameters():
            if is_adapter(name):
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    return plain, adapted


def test_without_its_adapters_the_model_is_the_initial_one_bit_for_bit(
    models: tuple[Policy, Policy], packed: PackedBatch
) -> None:
    plain, adapted = models
    with torch.no_grad():
        expected, changed = plain(packed), adapted(packed)
        with adapters_off(adapted):
            assert torch.equal(adapted(packed), expected)
        assert torch.equal(adapted(packed), changed)
    assert (changed - expected).abs().max() > 0.01


def test_switching_off_ends_with_an_error_inside_too(models: tuple[Policy, Policy], packed: PackedBatch) -> None:
    adapted = models[1]
    with torch.no_grad():
        before = adapted(packed)
        with pytest.raises(KeyError), adapters_off(adapted):
            raise KeyError
        assert torch.equal(adapted(packed), before)


def test_merged_weights_compute_what_the_adapters_do(models: tuple[Policy, Policy], packed: PackedBatch) -> None:
    plain, adapted = models
    merged = dict(iter_full_state_dict(adapted, "float32"))
    assert merged.keys() == plain.model.state_dict().keys()
    with torch.no_grad():
        expected = adapted(packed)
        plain.model.load_state_dict(merged)
        torch.testing.assert_close(plain(packed), expected, rtol=1e-5, atol=1e-6)


def test_only_adapters_take_gradients(models: tuple[Policy, Policy], packed: PackedBatch) -> None:
    adapted = models[1]
    adapted(packed).sum().backward()
    for name, parameter in adapted.model.named_parameters():
        assert (parameter.grad is not None) == is_adapter(name), name
    assert len(adapted_layers(adapted.model)) == 2 * 7


def test_training_begins_at_the_checkpoint_and_from_the_seed_alone() -> None:
    shape = torch.Size((3, 16))
    first = initial_adapter("q.lora_A.default.weight", shape, seed=4, number=1)
    assert torch.equal(first, initial_adapter("q.lora_A.default.weight", shape, seed=4, number=1))
    assert not torch.equal(first, initial_adapter("q.lora_A.default.weight", shape, seed=5, number=1))
    assert not torch.equal(first, initial_adapter("q.lora_A.default.weight", shape, seed=4, number=2))
    assert 0.1 < first.abs().max() <= 0.25
    assert initial_adapter("q.lora_B.default.weight", shape, seed=4, number=1).count_nonzero() == 0


def test_a_matrix_the_model_does_not_have_is_refused_by_name(models: tuple[Policy, Policy]) -> None:
    lora = Lora(rank=2, alpha=2.0, targets=("q_proj", "fc1"))
    with pytest.raises(InputError, match=r"train.lora.targets: the model has no matrix named 'fc1'"):
        add_adapters(models[0].model, lora)
