"""From rollouts to packed micro-batches: which groups an optimiser update sees, on which process, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from tasks.policy.packing import PackedBatch, PromptGroup, pack
from tasks.sampling.protocol import Completion
from tasks.train.objective import sequence_loss_weights

Aggregation = Literal["token_mean", "sequence_mean"]


@dataclass(frozen=True)
class RolloutGroup:
    """A prompt's completions with their rewards and advantages.

    Attributes:
        problem_id: the prompt's name.
        prompt: prompt token ids.
        completions: G completions.
        rewards: G rewards in [0, 1].
        advantages: G advantages.
    """

    problem_id: str
    prompt: tuple[int, ...]
    completions: tuple[Completion, ...]
    rewards: tuple[float, ...]
    advantages: tuple[float, ...]

    @property
    def num_tokens(self) -> int:
        """Rows the group takes in a packed batch."""
        return len(self.prompt) + sum(len(completion.tokens) - 1 for completion in self.completions)


@dataclass(frozen=True)
class MicroBatch:
    """A packed part of a minibatch; all tensors [R], aligned with `packed.targets`.

    Attributes:
        packed: the tokens.
        sampler_logprobs: log-probabilities the sampler reported.
        advantages: advantage of each token's completion.
        loss_weights: weight of each token in the minibatch's loss (see `tasks.train.objective`).
        is_padding: whether it is there only so that every rank makes the same number of collective calls.
    """

    packed: PackedBatch
    sampler_logprobs: torch.Tensor
    advantages: torch.Tensor
    loss_weights: torch.Tensor
    is_padding: bool = False

    def as_padding(self) -> MicroBatch:
        """The same tokens with no weight, so that every rank makes the same number of collective calls."""
        return replace(self, loss_weights=torch.zeros_like(self.loss_weights), is_padding=True)


def rank_prompt_indices(num_prompts: int, minibatch: int, rank: int, world_size: int) -> list[list[int]]:
    """Returns, per minibatch, the indices of the prompts one process owns: every `world_size`-th of each minibatch."""
    return [list(range(start + rank, start + minibatch, world_size)) for start in range(0, num_prompts, minibatch)]


def split_by_tokens(groups: Sequence[RolloutGroup], token_budget: int) -> list[list[RolloutGroup]]:
    """Cuts groups, in order, into micro-batches of at most `token_budget` rows; a larger group is cut between its
    completions.
    """
    batches: list[list[RolloutGroup]] = [[]]
    used = 0
    for part in (part for group in groups for part in _split_group(group, token_budget)):
        if batches[-1] and used + part.num_tokens > token_budget:
            batches.append([])
            used = 0
        batches[-1].append(part)
        used += part.num_tokens
    return [batch for batch in batches if batch]


def _split_group(group: RolloutGroup, budget: int) -> list[RolloutGroup]:
    parts: list[list[int]] = [[]]
    used = len(group.prompt)
    for index, completion in enumerate(group.completions):
        rows = len(completion.tokens) - 1
        if parts[-1] and used + rows > budget:
            parts.append([])
            used = len(group.prompt)
        parts[-1].append(index)
        used += rows
    if len(parts) == 1:
        return [group]
    return [
        RolloutGroup(
            group.problem_id,
            group.prompt,
            tuple(group.completions[i] for i in part),
            tuple(group.rewards[i] for i in part),
            tuple(group.advantages[i] for i in part),
        )
        for part in parts
    ]


def micro_batches(
    groups: Sequence[RolloutGroup],
    token_budget: int,
    totals: tuple[int, int],
    aggregation: Aggregation,
    device: torch.device,
    varlen: bool = False,
) -> list[MicroBatch]:
    """Packs one process's part of a minibatch.

    Args:
        groups: the process's groups.
        token_budget: rows per micro-batch.
        totals: (completion tokens, completions) of the whole minibatch over all processes.
        aggregation: token_mean or sequence_mean.
        device: where the tensors go.
        varlen: for a variable-length attention kernel, see `tasks.policy.packing.pack`.
    """
    return [_micro_batch(batch, totals, aggregation, device, varlen) for batch in split_by_tokens(groups, token_budget)]


def _micro_batch(
    groups: Sequence[RolloutGroup],
    totals: tuple[int, int],
    aggregation: Aggregation,
    device: torch.device,
    varlen: bool,
) -> MicroBatch:
    completions = [completion for group in groups for completion in group.completions]
    prompt_groups = [PromptGroup(group.prompt, tuple(c.tokens for c in group.completions)) for group in groups]
    packed = pack(prompt_groups, varlen=varlen)
    advantages = torch.tensor([advantage for group in groups for advantage in group.advantages])
    lengths = torch.tensor([len(completion.tokens) for completion in completions])
    weights = sequence_loss_weights(lengths, totals, aggregation)[packed.completion_index]
    return MicroBatch(
        packed=packed.to(device),
        sampler_logprobs=torch.tensor([lp for c in completions for lp in c.logprobs]).to(device),
        advantages=advantages[packed.completion_index].to(device),
        loss_weights=weights.to(device),
    )
