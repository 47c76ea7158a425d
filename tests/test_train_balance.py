"""Dealing a minibatch out to ranks: nothing lost, the budget kept, little waste, and the same gradients."""

from __future__ import annotations

import copy
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import REPOSITORY
from transformers import Qwen2Config, Qwen2ForCausalLM

from benchmarks.rank_balance import draw, waste
from tasks.policy.policy_model import Policy
from tasks.sampling.protocol import Completion
from tasks.study.params import load_params
from tasks.train.balance import balanced_micro_batches
from tasks.train.batching import RolloutGroup, minibatch_size, pack_micro_batch
from tasks.train.objective import token_losses

OBJECTIVE = load_params(REPOSITORY / "params.yaml").train.objective


def _group(name: int, prompt: int, lengths: list[int], vocabulary: int = 20) -> RolloutGroup:
    numbers = np.random.default_rng([name, prompt, *lengths])

    def tokens(size: int) -> tuple[int, ...]:
        return tuple(numbers.integers(0, vocabulary, size).tolist())

    completions = tuple(Completion(tokens(n), tuple((-numbers.random(n)).tolist()), "stop") for n in lengths)
    values = tuple(numbers.standard_normal(len(lengths)).tolist())
    return RolloutGroup(str(name), tokens(prompt), completions, values, values)


def _rows(parts: list[RolloutGroup]) -> int:
    return sum(part.num_tokens for part in parts)


GROUPS = st.lists(
    st.tuples(st.integers(1, 12), st.lists(st.integers(1, 30), min_size=2, max_size=6)), min_size=4, max_size=9
).map(lambda drawn: [_group(name, *one) for name, one in enumerate(drawn)])


@settings(deadline=None)
@given(groups=GROUPS, budget=st.integers(1, 120), num_ranks=st.integers(1, 4))
def test_every_completion_is_computed_once_within_the_budget(
    groups: list[RolloutGroup], budget: int, num_ranks: int
) -> None:
    ranks = balanced_micro_batches(groups, budget, num_ranks)
    assert len(ranks) == num_ranks
    counts = [len(micros) for micros in ranks]
    assert min(counts) >= 1
    assert num_ranks == 1 or max(counts) - min(counts) <= 1
    parts = [part for micros in ranks for micro in micros for part in micro]
    computed = Counter(
        (part.problem_id, part.prompt, *one)
        for part in parts
        for one in zip(part.completions, part.rewards, part.advantages, strict=True)
    )
    assert computed == Counter(
        (group.problem_id, group.prompt, *one)
        for group in groups
        for one in zip(group.completions, group.rewards, group.advantages, strict=True)
    )
    for micros in ranks:
        for micro in micros:
            assert micro
            assert _rows(micro) <= budget or (len(micro) == 1 and len(micro[0].completions) == 1)


@pytest.mark.parametrize("budget", [6144, 16384])
@pytest.mark.parametrize("num_ranks", [4, 8, 16, 32])
def test_at_most_an_eighth_of_the_rows_is_waste_on_long_tailed_lengths(num_ranks: int, budget: int) -> None:
    for seed in range(3):
        groups = draw(np.random.default_rng(seed))
        # A prompt computed again for another part of its group counts as waste too.
        assert waste(groups, balanced_micro_batches(groups, budget, num_ranks)) <= 0.12


@pytest.mark.slow
@pytest.mark.parametrize("aggregation", ["token_mean", "sequence_mean"])
def test_gradients_of_balanced_ranks_equal_those_of_one_rank(aggregation: str) -> None:
    objective = OBJECTIVE.model_copy(update={"aggregation": aggregation, "kl_coefficient": 0.0})
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=20, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    policy = Policy(Qwen2ForCausalLM(config))
    numbers = np.random.default_rng(3)
    groups = [_group(name, int(numbers.integers(2, 9)), numbers.geometric(0.1, 4).tolist()) for name in range(8)]
    whole = minibatch_size(groups, 100, objective)
    found = []
    for num_ranks in (1, 2, 3, 8):
        summed = copy.deepcopy(policy)
        for micros in balanced_micro_batches(groups, 60, num_ranks):
            for parts in micros:
                micro = pack_micro_batch(parts, whole, objective, torch.device("cpu"), varlen=False)
                logp = summed(micro.packed)
                pieces = token_losses(logp, micro.sampler_logprobs, None, micro.advantages, objective)
                (pieces.loss * micro.loss_weights).sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in summed.parameters() if p.grad is not None]))
    for gradient in found[1:]:
        torch.testing.assert_close(gradient, found[0], atol=1e-6, rtol=1e-4)
