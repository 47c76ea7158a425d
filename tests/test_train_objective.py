"""The objective against values worked by hand and against TRL's own loss on the same batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import REPOSITORY
from support.studies import study_to_train

from tasks.policy.packing import PromptGroup, pack
from tasks.policy.policy_model import Policy, load_model
from tasks.sampling.protocol import Completion
from tasks.study.params import Objective, load_params
from tasks.study.paths import StudyPaths
from tasks.train.batching import RolloutGroup, micro_batches
from tasks.train.objective import group_advantages, importance_weights, kl_penalty, sequence_loss_weights, token_losses

OBJECTIVE = load_params(REPOSITORY / "params.yaml").train.objective
CPU = torch.device("cpu")


def test_advantages_of_one_right_answer_in_four_are_the_values_worked_by_hand() -> None:
    found = group_advantages(torch.tensor([[1.0, 0.0, 0.0, 0.0]]), eps=1e-6)
    # mean 1/4, unbiased standard deviation 1/2
    assert found.tolist()[0] == pytest.approx([1.5, -0.5, -0.5, -0.5], abs=1e-5)


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=16))
def test_advantages_sum_to_zero_and_vanish_for_equal_rewards(rewards: list[float]) -> None:
    found = group_advantages(torch.tensor([rewards]), eps=1e-6)
    assert float(found.sum()) == pytest.approx(0.0, abs=1e-4)
    if len(set(rewards)) == 1:
        assert not found.any()


def test_a_ratio_beyond_the_clip_range_is_clipped_only_where_it_would_gain() -> None:
    old = torch.zeros(4)
    logp = torch.log(torch.tensor([1.5, 1.5, 0.5, 0.5]))
    advantages = torch.tensor([1.0, -1.0, 1.0, -1.0])
    plain = OBJECTIVE.model_copy(update={"kl_coefficient": 0.0})
    pieces = token_losses(logp, old, None, advantages, plain)
    assert pieces.loss.tolist() == pytest.approx([-1.2, 1.5, -0.5, 0.8])
    assert pieces.clipped.tolist() == [True, False, False, True]


def test_kl_estimators_are_their_formulas() -> None:
    logp, reference = torch.tensor([-1.0]), torch.tensor([-1.5])
    d = -0.5
    assert float(kl_penalty(logp, reference, "k1")) == pytest.approx(-d)
    assert float(kl_penalty(logp, reference, "k2")) == pytest.approx(d * d / 2)
    assert float(kl_penalty(logp, reference, "k3")) == pytest.approx(math.exp(d) - d - 1)


def test_k3_estimates_the_divergence_without_bias() -> None:
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.4, 0.4, 0.2])
    exact = float((p * (p / q).log()).sum())
    for kind in ("k1", "k3"):
        assert float((p * kl_penalty(p.log(), q.log(), kind)).sum()) == pytest.approx(exact, abs=1e-6)


def test_importance_weights_are_capped_and_carry_no_gradient() -> None:
    trainer = torch.tensor([0.0, 1.0], requires_grad=True)
    weights = importance_weights(trainer, torch.zeros(2), cap=2.0)
    assert weights.tolist() == pytest.approx([1.0, 2.0])
    assert not weights.requires_grad


def test_weights_of_a_minibatch_sum_to_one_however_it_is_cut() -> None:
    lengths = torch.tensor([3, 1, 5, 7])
    totals = (int(lengths.sum()), 4)
    for kind in ("token_mean", "sequence_mean"):
        parts = [sequence_loss_weights(part, totals, kind) * part for part in (lengths[:1], lengths[1:])]
        assert float(torch.cat(parts).sum()) == pytest.approx(1.0)


@dataclass(frozen=True)
class Batch:
    """A checkpoint and a minibatch of rollouts from somewhere else than its policy."""

    checkpoint: Path
    groups: list[RolloutGroup]
    reference: Path


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Batch:
    params, run = study_to_train(tmp_path_factory.mktemp("parity"))
    checkpoint = StudyPaths.of(params).model(run.model)
    shifted = tmp_path_factory.mktemp("reference")
    generator = torch.Generator().manual_seed(5)
    model = load_model(checkpoint, "float32")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(shifted)
    numbers = torch.Generator().manual_seed(6)

    def some(low: int, high: int) -> tuple[int, ...]:
        size = int(torch.randint(low, high, (1,), generator=numbers))
        return tuple(torch.randint(5, 21, (size,), generator=numbers).tolist())

    groups = []
    for index in range(4):
        completions = [some(1, 9) for _ in range(4)]
        rewards = torch.randint(0, 2, (4,), generator=numbers).float()
        advantages = group_advantages(rewards[None], 1e-6)[0].tolist()
        drawn = tuple(
            Completion(tokens, tuple((-3 * torch.rand(len(tokens), generator=numbers)).tolist()), "stop")
            for tokens in completions
        )
        groups.append(RolloutGroup(str(index), some(3, 8), drawn, tuple(rewards.tolist()), tuple(advantages)))
    return Batch(checkpoint, groups, shifted)


def _ours(batch: Batch, objective: Objective, budget: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the whole minibatch, accumulated over micro-batches of `budget` rows."""
    policy, reference = (Policy(load_model(path, "float32")) for path in (batch.checkpoint, batch.reference))
    tokens = sum(len(c.tokens) for group in batch.groups for c in group.completions)
    totals = (tokens, sum(len(group.completions) for group in batch.groups))
    total = 0.0
    for micro in micro_batches(batch.groups, budget, totals, objective.aggregation, CPU):
        with torch.no_grad():
            held = reference(micro.packed)
        pieces = token_losses(policy(micro.packed), micro.sampler_logprobs, held, micro.advantages, objective)
        loss = (pieces.loss * micro.loss_weights).sum()
        loss.backward()
        total += float(loss.detach())
    return total, {name: p.grad for name, p in policy.model.named_parameters() if p.grad is not None}


def _trl(batch: Batch, objective: Objective, folder: Path) -> tuple[float, dict[str, torch.Tensor]]:
    """The same through `GRPOTrainer._compute_loss`, on padded tensors."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    config = GRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to="none",
        per_device_train_batch_size=16,
        num_generations=4,
        beta=objective.kl_coefficient,
        epsilon=objective.clip_low,
        loss_type={"token_mean": "bnpo", "sequence_mean": "grpo"}[objective.aggregation],
        use_bias_correction_kl=False,
        temperature=1.0,
        gradient_checkpointing=False,
    )
    model = AutoModelForCausalLM.from_pretrained(batch.checkpoint, dtype=torch.float32)
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=config,
        train_dataset=Dataset.from_list([{"prompt": "1+1="}]),
        processing_class=AutoTokenizer.from_pretrained(batch.checkpoint, padding_side="left"),
    )
    rows = [(g.prompt, c, a) for g in batch.groups for c, a in zip(g.completions, g.advantages, strict=True)]
    longest = max(len(c.tokens) for _, c, _ in rows)
    widest = max(len(prompt) for prompt, _, _ in rows)
    reference = Policy(load_model(batch.reference, "float32"))
    with torch.no_grad():
        held = reference(
            pack([PromptGroup(g.prompt, tuple(c.tokens for c in g.completions)) for g in batch.groups])
        ).tolist()
    stream = iter(held)

    def right(values: list[float], fill: float = 0.0) -> list[float]:
        return [*values, *[fill] * (longest - len(values))]

    inputs = {
        "prompt_ids": torch.tensor([[0] * (widest - len(p)) + list(p) for p, _, _ in rows]),
        "prompt_mask": torch.tensor([[0] * (widest - len(p)) + [1] * len(p) for p, _, _ in rows]),
        "completion_ids": torch.tensor([right(list(c.tokens), 0) for _, c, _ in rows]).long(),
        "completion_mask": torch.tensor([right([1] * len(c.tokens), 0) for _, c, _ in rows]).long(),
        "advantages": torch.tensor([a for _, _, a in rows]),
        "old_per_token_logps": torch.tensor([right(list(c.logprobs)) for _, c, _ in rows]),
        "ref_per_token_logps": torch.tensor([right([next(stream) for _ in c.tokens]) for _, c, _ in rows]),
        "num_items_in_batch": torch.tensor(sum(len(c.tokens) for _, c, _ in rows)),
    }
    trainer.current_gradient_accumulation_steps = 1
    model.train()
    loss = trainer._compute_loss(model, inputs)
    loss.backward()
    return float(loss.detach()), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_loss_and_gradients_equal_trl_on_the_same_minibatch(aggregation: str, batch: Batch, tmp_path: Path) -> None:
    objective = OBJECTIVE.model_copy(update={"aggregation": aggregation, "kl_coefficient": 0.05})
    loss, gradients = _ours(batch, objective, budget=10_000)
    other, others = _trl(batch, objective, tmp_path)
    assert loss == pytest.approx(other, abs=1e-5)
    assert gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        torch.testing.assert_close(gradient, others[name], atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_gradients_do_not_depend_on_how_a_minibatch_is_cut(aggregation: str, batch: Batch) -> None:
    objective = OBJECTIVE.model_copy(update={"aggregation": aggregation})
    whole, gradients = _ours(batch, objective, budget=10_000)
    for budget in (1, 20, 60):
        pieces, others = _ours(batch, objective, budget)
        assert pieces == pytest.approx(whole, abs=1e-6)
        for name, gradient in gradients.items():
            torch.testing.assert_close(others[name], gradient, atol=1e-6, rtol=1e-4)
