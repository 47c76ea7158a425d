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
from tasks.train.batching import RolloutGroup, minibatch_size, pack_micro_batch, split_by_tokens
from tasks.train.objective import (
    MinibatchSize,
    group_advantages,
    importance_weights,
    kl_penalty,
    overlong_penalty,
    sequence_loss_weights,
    token_losses,
)
from tasks.train.update import warmup_factor

OBJECTIVE = load_params(REPOSITORY / "params.yaml").train.objective
CPU = torch.device("cpu")
LENGTH_LIMIT = 8
TRL_LOSS = {"token_mean": "bnpo", "sequence_mean": "grpo", "constant_length": "dr_grpo"}
VARIANTS: dict[str, dict[str, object]] = {
    "token_mean": {},
    "sequence_mean": {"aggregation": "sequence_mean"},
    "dr_grpo": {"aggregation": "constant_length"},
    "dual clip": {"clip_dual": 1.5, "clip_high": 0.28},
    "cispo": {"loss": "cispo", "clip_high": 1.0},
    "gspo": {"loss": "gspo", "aggregation": "sequence_mean", "clip_low": 0.1, "clip_high": 0.3},
    "overlong mask": {"mask_truncated": True},
    "overlong mask, sequences": {"mask_truncated": True, "aggregation": "sequence_mean"},
    "entropy bonus": {"entropy_coefficient": 0.3},
}


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
    whole = MinibatchSize(int(lengths.sum()), 4, length_limit=4)
    for kind in ("token_mean", "sequence_mean", "constant_length"):
        parts = [sequence_loss_weights(part, whole, kind) * part for part in (lengths[:1], lengths[1:])]
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
            Completion(
                tokens,
                tuple((-3 * torch.rand(len(tokens), generator=numbers)).tolist()),
                "length" if len(tokens) > 5 else "stop",
            )
            for tokens in completions
        )
        groups.append(RolloutGroup(str(index), some(3, 8), drawn, tuple(rewards.tolist()), tuple(advantages)))
    return Batch(checkpoint, groups, shifted)


def _ours(batch: Batch, objective: Objective, budget: int) -> tuple[float, dict[str, torch.Tensor]]:
    """Loss and gradients of the whole minibatch, accumulated over micro-batches of `budget` rows."""
    policy, reference = (Policy(load_model(path, "float32")) for path in (batch.checkpoint, batch.reference))
    whole = minibatch_size(batch.groups, LENGTH_LIMIT, objective)
    total = 0.0
    for part in split_by_tokens(batch.groups, budget):
        micro = pack_micro_batch(part, whole, objective, CPU, varlen=False)
        with torch.no_grad():
            held = reference(micro.packed)
        logp, entropy = policy(micro.packed, with_entropy=True)
        sequence = micro.packed.completion_index
        pieces = token_losses(logp, micro.sampler_logprobs, held, micro.advantages, objective, sequence=sequence)
        loss = (pieces.loss * micro.loss_weights).sum()
        weighted = micro.loss_weights > 0
        loss = loss - objective.entropy_coefficient * micro.token_share * (entropy * weighted).sum()
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
        epsilon_high=1.0 + objective.clip_high if objective.loss == "cispo" else objective.clip_high,
        delta=objective.clip_dual,
        loss_type="cispo" if objective.loss == "cispo" else TRL_LOSS[objective.aggregation],
        importance_sampling_level="sequence" if objective.loss == "gspo" else "token",
        max_completion_length=LENGTH_LIMIT,
        entropy_coef=objective.entropy_coefficient,
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

    # TRL masks a truncated completion when it makes the batch: its tokens then count nowhere.
    kept = [[float(c.finish_reason == "stop" or not objective.mask_truncated)] * len(c.tokens) for _, c, _ in rows]

    inputs = {
        "prompt_ids": torch.tensor([[0] * (widest - len(p)) + list(p) for p, _, _ in rows]),
        "prompt_mask": torch.tensor([[0] * (widest - len(p)) + [1] * len(p) for p, _, _ in rows]),
        "completion_ids": torch.tensor([right(list(c.tokens), 0) for _, c, _ in rows]).long(),
        "completion_mask": torch.tensor([right(mask) for mask in kept]).long(),
        "advantages": torch.tensor([a for _, _, a in rows]),
        "old_per_token_logps": torch.tensor([right(list(c.logprobs)) for _, c, _ in rows]),
        "ref_per_token_logps": torch.tensor([right([next(stream) for _ in c.tokens]) for _, c, _ in rows]),
        "num_items_in_batch": torch.tensor(sum(map(sum, kept))),
    }
    trainer.current_gradient_accumulation_steps = 1
    model.train()
    loss = trainer._compute_loss(model, inputs)
    loss.backward()
    return float(loss.detach()), {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


def _variant(name: str) -> Objective:
    return OBJECTIVE.model_copy(update={"kl_coefficient": 0.05} | VARIANTS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_loss_and_gradients_equal_trl_on_the_same_minibatch(name: str, batch: Batch, tmp_path: Path) -> None:
    objective = _variant(name)
    loss, gradients = _ours(batch, objective, budget=10_000)
    other, others = _trl(batch, objective, tmp_path)
    assert loss == pytest.approx(other, abs=1e-5)
    assert gradients.keys() == others.keys()
    for key, gradient in gradients.items():
        torch.testing.assert_close(gradient, others[key], atol=1e-5, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_gradients_do_not_depend_on_how_a_minibatch_is_cut(name: str, batch: Batch) -> None:
    objective = _variant(name)
    whole, gradients = _ours(batch, objective, budget=10_000)
    for budget in (1, 20, 60):
        pieces, others = _ours(batch, objective, budget)
        assert pieces == pytest.approx(whole, abs=1e-6)
        for key, gradient in gradients.items():
            torch.testing.assert_close(others[key], gradient, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_every_variant_is_another_loss(batch: Batch) -> None:
    losses = [_ours(batch, _variant(name), budget=10_000)[0] for name in VARIANTS]
    assert len({round(loss, 6) for loss in losses}) == len(VARIANTS)


def test_a_dual_clip_bounds_the_loss_of_a_token_with_a_large_ratio() -> None:
    logp = torch.log(torch.tensor([10.0, 2.5, 10.0])).requires_grad_()
    objective = OBJECTIVE.model_copy(update={"kl_coefficient": 0.0, "clip_dual": 3.0})
    pieces = token_losses(logp, torch.zeros(3), None, torch.tensor([-1.0, -1.0, 1.0]), objective)
    assert pieces.loss.tolist() == pytest.approx([3.0, 2.5, -1.2])
    assert pieces.clipped.tolist() == [True, False, True]
    pieces.loss.sum().backward()
    assert logp.grad is not None
    assert logp.grad.tolist() == pytest.approx([0.0, 2.5, 0.0])


@pytest.mark.parametrize("kind", ["k1", "k2", "k3"])
def test_a_clamped_divergence_is_the_plain_one_inside_and_has_a_finite_gradient_outside(kind: str) -> None:
    near, reference = torch.linspace(-3, 3, 25), torch.zeros(25)
    assert torch.equal(kl_penalty(near, reference, kind, clamp=50.0), kl_penalty(near, reference, kind))
    far = torch.tensor([-200.0, -31.0, 31.0, 200.0], requires_grad=True)
    clamped = kl_penalty(far, torch.zeros(4), kind, clamp=10.0)
    assert clamped.abs().tolist() == [10.0] * 4
    clamped.sum().backward()
    assert far.grad is not None
    assert far.grad.tolist() == [0.0] * 4


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=2, max_size=16))
def test_advantages_without_scale_are_rewards_less_their_mean(rewards: list[float]) -> None:
    found = group_advantages(torch.tensor([rewards]), 1e-6, "none")[0].tolist()
    mean = sum(rewards) / len(rewards)
    assert found == pytest.approx([reward - mean for reward in rewards], abs=1e-6)


def test_the_overlong_penalty_is_trls() -> None:
    from trl.rewards import get_soft_overlong_punishment

    lengths = list(range(1, 21))
    theirs = get_soft_overlong_punishment(max_completion_len=20, soft_punish_cache=6)
    expected = theirs(completion_ids=[[0] * length for length in lengths])
    assert overlong_penalty(torch.tensor(lengths), limit=20, buffer=6).tolist() == pytest.approx(expected)


def test_warm_up_is_pytorchs_linear_schedule() -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, start_factor=1 / 4, total_iters=3)
    for step in range(1, 8):
        assert warmup_factor(step, 4) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert warmup_factor(1, 0) == 1.0
