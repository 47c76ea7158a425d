"""Packed batches give the numbers that one sequence at a time gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.studies import study_to_train
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from tasks.costs.flops import Architecture, published_compute
from tasks.costs.logit_chunks import logit_rows
from tasks.policy.logprobs import HeadOptions, logit_gradient, row_statistics, token_logprobs
from tasks.policy.packing import PromptGroup, pack
from tasks.policy.policy_model import Policy, count_parameters, load_model, weights_digest
from tasks.study.paths import StudyPaths
from tasks.train.checkpoints import TrainerState
from tasks.train.context import open_context
from tasks.train.loop import PhaseTimer, train_step

TOKENS = st.lists(st.integers(5, 20), min_size=1, max_size=9).map(tuple)
GROUPS = st.lists(
    st.tuples(TOKENS, st.lists(TOKENS, min_size=1, max_size=4).map(tuple)).map(lambda pair: PromptGroup(*pair)),
    min_size=1,
    max_size=5,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    params, run = study_to_train(tmp_path_factory.mktemp("packing"))
    return StudyPaths.of(params).model(run.model)


def _one_by_one(model: torch.nn.Module, groups: list[PromptGroup]) -> torch.Tensor:
    """Log-probabilities from the plain transformers model, each pair alone."""
    found = []
    for group in groups:
        for completion in group.completions:
            logits = model(torch.tensor([[*group.prompt, *completion]])).logits[0].log_softmax(-1)
            start = len(group.prompt) - 1
            found += [logits[start + place, token] for place, token in enumerate(completion)]
    return torch.stack(found)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(groups=GROUPS, share=st.booleans())
def test_packed_log_probs_equal_one_by_one(checkpoint: Path, groups: list[PromptGroup], share: bool) -> None:
    policy = Policy(load_model(checkpoint, "float32"))
    plain = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(policy(pack(groups, share)), _one_by_one(plain, groups), atol=2e-5, rtol=1e-4)


@pytest.mark.slow
def test_gradients_through_shared_prompts_equal_one_by_one(checkpoint: Path) -> None:
    groups = [PromptGroup((5, 6, 7), ((8, 9), (10,), (11, 12, 13))), PromptGroup((14,), ((15, 16, 17, 18), (19, 5)))]
    policy = Policy(load_model(checkpoint, "float32"))
    plain = AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    weights = torch.linspace(-1, 1, sum(len(c) for g in groups for c in g.completions))
    (policy(pack(groups)) * weights).sum().backward()
    (_one_by_one(plain, groups) * weights).sum().backward()
    for (name, mine), other in zip(policy.model.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.slow
def test_a_completion_does_not_see_its_siblings(checkpoint: Path) -> None:
    policy = Policy(load_model(checkpoint, "float32"))
    alone, beside = (5, 6), (7, 8, 9)
    with torch.no_grad():
        first = policy(pack([PromptGroup((10, 11), (alone, beside))]))[:2]
        second = policy(pack([PromptGroup((10, 11), (alone, (12, 13, 14, 15)))]))[:2]
    torch.testing.assert_close(first, second, atol=1e-6, rtol=0)


def _varlen_kernel(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    q_bounds: torch.Tensor,
    k_bounds: torch.Tensor,
    longest_q: int,
    longest_k: int,
    scale: float,
    window_size: tuple[int, int],
    enable_gqa: bool,
) -> torch.Tensor:
    """What PyTorch documents of `varlen_attn` on a GPU, sequence by sequence: causal, aligned at the last key."""
    assert enable_gqa
    assert window_size == (-1, 0)
    assert q_bounds.dtype == k_bounds.dtype == torch.int32
    out = []
    for place in range(len(q_bounds) - 1):
        asked = q[q_bounds[place] : q_bounds[place + 1]].transpose(0, 1)
        keys, values = (x[k_bounds[place] : k_bounds[place + 1]].transpose(0, 1) for x in (k, v))
        assert asked.shape[1] <= longest_q
        assert keys.shape[1] <= longest_k
        fold = asked.shape[0] // keys.shape[0]
        keys, values = keys.repeat_interleave(fold, 0), values.repeat_interleave(fold, 0)
        ahead = keys.shape[1] - asked.shape[1]
        hidden = torch.ones(asked.shape[1], keys.shape[1], dtype=torch.bool).triu(ahead + 1)
        scores = (asked @ keys.transpose(1, 2) * scale).masked_fill(hidden, -torch.inf)
        out.append((scores.softmax(-1) @ values).transpose(0, 1))
    return torch.cat(out)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(groups=GROUPS, share=st.booleans())
def test_the_variable_length_plan_gives_the_blocks_numbers(
    checkpoint: Path, groups: list[PromptGroup], share: bool
) -> None:
    policy = Policy(load_model(checkpoint, "float32"))
    blocks, ragged = pack(groups, share), pack(groups, share, varlen=True)
    weights = torch.linspace(-1, 1, blocks.targets.numel())
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks.policy.attention.varlen_attn", _varlen_kernel)
        for packed in (blocks, ragged):
            policy.zero_grad()
            logp = policy(packed)
            (logp * weights).sum().backward()
            found.append((logp.detach(), torch.cat([p.grad.flatten() for p in policy.parameters()])))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-4)


@given(groups=GROUPS)
def test_a_packed_batch_holds_no_padding_and_every_target_once(groups: list[PromptGroup]) -> None:
    packed = pack(groups)
    rows = sum(len(g.prompt) + sum(len(c) - 1 for c in g.completions) for g in groups)
    assert packed.input_ids.numel() == rows
    assert packed.targets.tolist() == [token for g in groups for c in g.completions for token in c]
    pairs = [(len(g.prompt), len(c) - 1) for g in groups for c in g.completions]
    own = sum(fed * prompt + fed * (fed + 1) // 2 for prompt, fed in pairs)
    assert packed.attended_pairs == own + sum(len(g.prompt) * (len(g.prompt) + 1) // 2 for g in groups)


@pytest.mark.parametrize("varlen", [False, True])
def test_all_tensors_of_a_batch_move_to_a_device(varlen: bool) -> None:
    moved = pack([PromptGroup((5, 6), ((7, 8, 9), (7,)))], varlen=varlen).to(torch.device("meta"))
    values = [*vars(moved).values(), *(vars(moved.varlen).values() if moved.varlen else ())]
    values += [value for block in moved.padded_blocks for value in vars(block).values()]
    assert {value.device.type for value in values if isinstance(value, torch.Tensor)} == {"meta"}


def test_chunked_log_probs_equal_the_whole_softmax(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(23, 8, generator=generator, requires_grad=True)
    weight = torch.randn(31, 8, generator=generator, requires_grad=True)
    targets = torch.randint(0, 31, (23,), generator=generator)
    scale = torch.randn(23, generator=generator)
    want = ((hidden @ weight.T) / 0.7).log_softmax(1).gather(1, targets[:, None])[:, 0]
    grads = torch.autograd.grad((want * scale).sum(), (hidden, weight))
    monkeypatch.setattr("tasks.policy.logprobs.logit_rows", lambda vocab_size, gpu: 5)
    found = token_logprobs(hidden, weight, targets, HeadOptions(temperature=0.7))
    torch.testing.assert_close(found, want)
    for mine, other in zip(torch.autograd.grad((found * scale).sum(), (hidden, weight)), grads, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_entropies_and_their_gradients_are_those_of_the_whole_distribution(
    monkeypatch: pytest.MonkeyPatch, precision: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(2)
    hidden, weight = (torch.randn(n, 8, generator=generator).to(precision) for n in (23, 31))
    targets = torch.randint(0, 31, (23,), generator=generator)
    scales = torch.randn(2, 23, generator=generator)
    one = [x.detach().double().requires_grad_() for x in (hidden, weight)]
    whole = torch.distributions.Categorical(logits=one[0] @ one[1].T / 0.7)
    want = torch.stack((whole.log_prob(targets), whole.entropy()))
    gradients = torch.autograd.grad((want * scales).sum(), one)
    monkeypatch.setattr("tasks.policy.logprobs.logit_rows", lambda vocab_size, gpu: 5)
    other = [hidden.requires_grad_(), weight.requires_grad_()]
    found = token_logprobs(hidden, weight, targets, HeadOptions(0.7, float32=True, entropy=True))
    # A float32 head takes exact products of the bfloat16 values; only the gradients are rounded to their type.
    torch.testing.assert_close(found.double(), want, atol=2e-5, rtol=1e-5)
    rounding = 1e-4 if precision == torch.float32 else 2**-7
    for mine, theirs in zip(torch.autograd.grad((found * scales).sum(), other), gradients, strict=True):
        torch.testing.assert_close(mine.double(), theirs, atol=rounding, rtol=rounding)


@pytest.mark.parametrize("entropy", [False, True])
def test_what_is_compiled_for_a_gpu_has_the_numbers_of_the_chunks(entropy: bool) -> None:
    options = HeadOptions(0.7, entropy=entropy)
    generator = torch.Generator().manual_seed(3)
    hidden, weight = (torch.randn(n, 8, generator=generator) for n in (23, 31))
    targets, scales = torch.randint(0, 31, (23,), generator=generator), torch.randn(2, 23, generator=generator)
    logits = (hidden @ weight.T).requires_grad_()
    want = token_logprobs(logits, torch.eye(31), targets, options)
    rows = want if entropy else want[None]
    (gradient,) = torch.autograd.grad((rows * scales[: len(rows)]).sum(), logits)
    # Dynamo's trace without the C++ compiler
    found = torch.compile(row_statistics, dynamic=True, backend="eager")(logits.detach(), targets, options)
    scale, of_entropy = scales[0][:, None] / 0.7, (found[2], scales[1][:, None] / 0.7) if entropy else None
    other = torch.compile(logit_gradient, dynamic=True, backend="eager")(
        logits.detach(), targets, found[1], scale, of_entropy, options
    )
    torch.testing.assert_close(torch.stack([found[0], *found[2:]]) if entropy else found[0], want)
    torch.testing.assert_close(other, gradient, atol=1e-6, rtol=1e-5)


def test_logits_are_rounded_to_the_weights_precision_unless_the_head_is_float32() -> None:
    hidden, weight = (torch.randn(9, 64).to(torch.bfloat16) for _ in range(2))
    exact = (hidden.double() @ weight.double().T).log_softmax(1).diagonal()
    plain, wide = (token_logprobs(hidden, weight, torch.arange(9), HeadOptions(float32=on)) for on in (False, True))
    assert float((wide - exact).abs().max()) < 1e-4 < 1e-2 < float((plain - exact).abs().max())


def test_a_gpu_takes_at_least_two_thousand_rows_at_once() -> None:
    assert logit_rows(151_936, gpu=True) == 2048
    assert logit_rows(151_936, gpu=False) * 151_936 <= 1 << 25
    assert logit_rows(32, gpu=True) == logit_rows(32, gpu=False) == 1 << 20


def test_parameter_counts_equal_a_count_by_hand() -> None:
    config = Qwen2Config(
        vocab_size=11, hidden_size=8, intermediate_size=20, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=True,
    )  # fmt: skip
    attention = (8 * 8 + 8) + 2 * (8 * 4 + 4) + 8 * 8
    by_hand = 2 * (attention + 3 * 8 * 20 + 2 * 8) + 8
    model = Qwen2ForCausalLM(config)
    assert count_parameters(model) == (by_hand + 11 * 8, by_hand)
    assert Architecture.from_config(config.to_dict()).n_params == by_hand


def test_flops_of_forward_and_backward_agree_with_torch_within_one_percent() -> None:
    config = Qwen2Config(
        vocab_size=64, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=4, tie_word_embeddings=True,
    )  # fmt: skip
    policy = Policy(Qwen2ForCausalLM(config))
    generator = np.random.default_rng(0)
    # One length, so that no attention block is padded and the counter sees exactly the real pairs' full squares.
    groups = [
        PromptGroup(tuple(generator.integers(0, 64, 33).tolist()), (tuple(generator.integers(0, 64, 2).tolist()),))
    ]
    packed = pack(groups * 8)
    shape = Architecture.from_config(config.to_dict())
    rows, targets = packed.input_ids.numel(), packed.targets.numel()
    squares = sum(b.q_rows.shape[0] * b.q_rows.shape[1] * b.k_rows.shape[1] for b in packed.padded_blocks)
    # The counter knows no flash attention on the CPU; the mathematical kernel does the same products in the open.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward, torch.no_grad():
        policy(packed)
    assert shape.forward(rows, squares, targets) == pytest.approx(forward.get_total_flops(), rel=0.01)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as both:
        policy(packed).sum().backward()
    assert shape.update(rows, squares, targets) == pytest.approx(both.get_total_flops(), rel=0.01)


def test_published_compute_is_six_n_t() -> None:
    assert published_compute(5e8, 1e6) == 3e15


def test_a_fingerprint_changes_with_one_bit_and_with_two_swapped_values() -> None:
    weights = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2)}
    same = {"b": torch.ones(2), "a": torch.arange(6.0).view(2, 3).clone()}
    assert weights_digest(weights) == weights_digest(same)
    swapped = {"a": weights["a"].flip(0), "b": weights["b"]}
    nudged = {"a": weights["a"], "b": torch.tensor([1.0, 1.0000001])}
    assert len({weights_digest(weights), weights_digest(swapped), weights_digest(nudged)}) == 3


@pytest.mark.slow
def test_mfu_counts_forward_backward_and_the_other_passes_once(tmp_path: Path) -> None:
    params, run = study_to_train(tmp_path)
    session = replace(open_context(params, run, "tiny"), peak_flops=1e12)
    try:
        session.folder.mkdir(parents=True)
        session.refresh_sampler()
        _, row = train_step(session, 1, TrainerState(), PhaseTimer())
    finally:
        session.close()
    # Forward and the reference pass cost the same; backward costs two forwards; the ledger's update counts the
    # output layer of the loss once more, which is no use to the model.
    head = session.architecture.head(row.completion_tokens)
    useful = row.flops["update"] - head + row.flops["reference"]
    assert row.flops["reference"] > 0
    assert row.mfu == pytest.approx(useful / (row.seconds["update"] * 1e12))
