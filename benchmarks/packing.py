"""One GRPO minibatch update on long-tailed completion lengths: padded batches against packed ones.

    python benchmarks/packing.py [--scale 16] [--prompt 120] [--sequences 32] [--hidden 128] [--repeats 5] [--threads 1]

Lengths are log-normal with a mean of 700 tokens, cut at 4,096, prompts have a mean of --prompt; all are divided by
--scale. The same weights, tokens, advantages and objective (clip, KL to a frozen reference) go through four ways:

    padded            stock transformers with a mask, --sequences per micro-batch as they come (as trainers do)
    padded, sorted    the same, sequences sorted by length first
    packed            ours, every completion with its own copy of the prompt
    packed, shared    ours, the prompt once per group: what the trainer runs

A micro-batch of ours has as many rows as one of theirs has tokens on average, padding included. Timed: reference pass,
forward, backward, AdamW. The ways run in turn; printed are medians, ratios to `padded`, and the largest difference of a
gradient entry from `padded`, relative to the largest entry.
"""

from __future__ import annotations

import argparse
import copy
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch.nn.functional import log_softmax
from transformers import Qwen2Config, Qwen2ForCausalLM

from tasks.policy.policy_model import Policy
from tasks.sampling.protocol import Completion
from tasks.study.params import Objective
from tasks.train.batching import MicroBatch, RolloutGroup, minibatch_size, pack_micro_batch, split_by_tokens
from tasks.train.objective import token_losses

MEAN, LONGEST, SIGMA = 700, 4096, 0.9
OBJECTIVE = Objective(
    clip_low=0.2,
    clip_high=0.2,
    kl_coefficient=0.001,
    kl_estimator="k3",
    aggregation="token_mean",
    advantage_eps=1e-6,
    importance_cap=None,
)


@dataclass(frozen=True)
class Example:
    """A prompt, one completion and what its loss needs."""

    prompt: tuple[int, ...]
    completion: Completion
    advantage: float


def draw_groups(
    prompts: int, group: int, mean_prompt: float, scale: int, vocabulary: int, seed: int
) -> list[RolloutGroup]:
    """Groups with long-tailed lengths."""
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)

    def tokens(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(1, vocabulary, (count,), generator=generator).tolist())

    # E[lognormal] = exp(mu + sigma^2 / 2)
    scatter = [rng.lognormvariate(-(SIGMA**2) / 2, SIGMA) for _ in range(prompts * group)]
    lengths = [max(2, round(min(x * MEAN, LONGEST) / scale)) for x in scatter]
    out = []
    for index in range(prompts):
        prompt = tokens(max(2, round(mean_prompt * rng.uniform(0.5, 1.5) / scale)))
        drawn = []
        for length in lengths[index * group : (index + 1) * group]:
            logprobs = tuple((-torch.rand(length, generator=generator) - 5.0).tolist())
            drawn.append(Completion(tokens(length), logprobs, "stop"))
        advantages = tuple(rng.gauss(0.0, 1.0) for _ in range(group))
        out.append(RolloutGroup(f"p{index}", prompt, tuple(drawn), (0.0,) * group, advantages))
    return out


class Setting:
    """Policy, reference and optimiser that every way uses alike."""

    def __init__(self, hidden: int, layers: int, vocabulary: int, longest: int) -> None:
        torch.manual_seed(0)
        config = Qwen2Config(
            vocab_size=vocabulary,
            hidden_size=hidden,
            intermediate_size=hidden * 3,
            num_hidden_layers=layers,
            num_attention_heads=hidden // 32,
            num_key_value_heads=max(1, hidden // 64),
            max_position_embeddings=longest,
            tie_word_embeddings=True,
        )
        self.stock = Qwen2ForCausalLM(config)
        self.stock_reference = Qwen2ForCausalLM(config).requires_grad_(False)
        self.packed = Policy(copy.deepcopy(self.stock))
        self.packed_reference = Policy(copy.deepcopy(self.stock_reference))


def padded_update(setting: Setting, batches: Sequence[Sequence[Example]], tokens: int) -> None:
    """Forward and backward over right-padded micro-batches."""
    for batch in batches:
        size = max(len(one.prompt) + len(one.completion.tokens) for one in batch)
        ids = torch.zeros(len(batch), size, dtype=torch.int64)
        mask, scored = torch.zeros_like(ids), torch.zeros(len(batch), size, dtype=torch.bool)
        old = torch.zeros(len(batch), size)
        for row, one in enumerate(batch):
            before, end = len(one.prompt), len(one.prompt) + len(one.completion.tokens)
            ids[row, :end] = torch.tensor(one.prompt + one.completion.tokens)
            mask[row, :end] = 1
            scored[row, before:end] = True
            old[row, before:end] = torch.tensor(one.completion.logprobs)
        advantages = torch.tensor([one.advantage for one in batch])[:, None].expand(-1, size - 1)

        def logprobs(model: torch.nn.Module, ids: torch.Tensor = ids, mask: torch.Tensor = mask) -> torch.Tensor:
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
            return log_softmax(logits, -1).gather(2, ids[:, 1:, None])[:, :, 0]

        with torch.no_grad():
            reference = logprobs(setting.stock_reference)
        pieces = token_losses(logprobs(setting.stock), old[:, 1:], reference, advantages, OBJECTIVE)
        ((pieces.loss * scored[:, 1:]).sum() / tokens).backward()


def packed_update(setting: Setting, micros: Sequence[MicroBatch]) -> None:
    """Forward and backward over packed micro-batches."""
    for micro in micros:
        with torch.no_grad():
            reference = setting.packed_reference(micro.packed)
        logp = setting.packed(micro.packed)
        pieces = token_losses(logp, micro.sampler_logprobs, reference, micro.advantages, OBJECTIVE)
        (pieces.loss * micro.loss_weights).sum().backward()


def one_by_one(groups: Sequence[RolloutGroup]) -> list[RolloutGroup]:
    """Groups of one completion each: the prompt is computed for each of them."""
    return [
        RolloutGroup(group.problem_id, group.prompt, (completion,), (0.0,), (advantage,))
        for group in groups
        for completion, advantage in zip(group.completions, group.advantages, strict=True)
    ]


def micro_batches(
    groups: list[RolloutGroup], budget: int, device: torch.device, varlen: bool = False
) -> list[MicroBatch]:
    """A minibatch's groups as one process computes them."""
    whole = minibatch_size(groups, LONGEST, OBJECTIVE)
    parts = split_by_tokens(groups, budget)
    return [pack_micro_batch(part, whole, OBJECTIVE, device, varlen) for part in parts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=int, default=16)
    parser.add_argument("--prompts", type=int, default=16)
    parser.add_argument("--group", type=int, default=8)
    parser.add_argument("--prompt", type=float, default=120.0)
    parser.add_argument("--sequences", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    groups = draw_groups(given.prompts, given.group, given.prompt, given.scale, given.vocabulary, seed=0)
    sequences = [
        Example(group.prompt, completion, advantage)
        for group in groups
        for completion, advantage in zip(group.completions, group.advantages, strict=True)
    ]
    lengths = [len(one.completion.tokens) for one in sequences]
    tokens = sum(lengths)
    setting = Setting(given.hidden, given.layers, given.vocabulary, LONGEST)

    def padded(ordered: list[Example]) -> list[list[Example]]:
        return [ordered[start : start + given.sequences] for start in range(0, len(ordered), given.sequences)]

    as_they_come = padded(sequences)
    by_length = padded(sorted(sequences, key=lambda one: len(one.prompt) + len(one.completion.tokens)))
    area = [len(batch) * max(len(one.prompt) + len(one.completion.tokens) for one in batch) for batch in as_they_come]
    budget = sum(area) // len(area)
    alone = micro_batches(one_by_one(groups), budget, torch.device("cpu"))
    shared = micro_batches(groups, budget, torch.device("cpu"))
    ways: dict[str, tuple[torch.nn.Module, Callable[[], None]]] = {
        "padded": (setting.stock, lambda: padded_update(setting, as_they_come, tokens)),
        "padded, sorted": (setting.stock, lambda: padded_update(setting, by_length, tokens)),
        "packed": (setting.packed, lambda: packed_update(setting, alone)),
        "packed, shared": (setting.packed, lambda: packed_update(setting, shared)),
    }
    print(
        f"{len(sequences)} completions of {given.prompts} prompts: mean {tokens / len(lengths):.0f} tokens, median "
        f"{statistics.median(lengths):.0f}, longest {max(lengths)}; {sum(area)} padded tokens, "
        f"{sum(micro.packed.input_ids.numel() for micro in shared)} packed and shared"
    )
    seconds, gradients = measure(ways, given.repeats)
    expected = gradients["padded"]
    base = statistics.median(seconds["padded"])
    print(f"{'way':<16} {'s':>8} {'ratio':>7} {'gradient differs by':>21}")
    for name in ways:
        median = statistics.median(seconds[name])
        gap = float((gradients[name] - expected).abs().max() / expected.abs().max())
        print(f"{name:<16} {median:8.3f} {base / median:7.2f} {gap:21.1e}")


def measure(
    ways: dict[str, tuple[torch.nn.Module, Callable[[], None]]], repeats: int
) -> tuple[dict[str, list[float]], dict[str, torch.Tensor]]:
    """Runs the ways in turn; returns seconds, and the gradients before the first optimiser step."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    gradients: dict[str, torch.Tensor] = {}
    for turn in range(repeats + 1):
        for name, (policy, update) in ways.items():
            # A learning rate of nothing: the optimiser's work is done, the weights stay those of the other ways.
            optimizer = torch.optim.AdamW(policy.parameters(), lr=0.0, weight_decay=0.0, fused=True)
            start = time.perf_counter()
            optimizer.zero_grad(set_to_none=True)
            update()
            optimizer.step()
            took = time.perf_counter() - start
            if turn == 0:
                gradients[name] = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
            else:
                seconds[name].append(took)
    return seconds, gradients


if __name__ == "__main__":
    main()
