"""From rollouts to packed micro-batches: what an optimiser update sees, in which order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from tasks.policy.packing import PackedBatch, PromptGroup, pack
from tasks.sampling.protocol import Completion
from tasks.study.params import Objective
from tasks.train.objective import MinibatchSize, sequence_loss_weights


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

    def part(self, indices: Sequence[int]) -> RolloutGroup:
        """The group with these of its completions only."""
        return replace(
            self,
            completions=tuple(self.completions[i] for i in indices),
            rewards=tuple(self.rewards[i] for i in indices),
            advantages=tuple(self.advantages[i] for i in indices),
        )


@dataclass(frozen=True)
class MicroBatch:
    """A packed part of a minibatch; all tensors [R], aligned with `packed.targets`.

    Attributes:
        packed: the tokens.
        sampler_logprobs: log-probabilities the sampler reported.
        advantages: advantage of each token's completion.
        loss_weights: weight of each token in the minibatch's loss (see `tasks.train.objective`); 0 where it has none.
        token_share: 1 / tokens of the whole minibatch, the weight of a token's entropy.
        is_padding: whether it is there only so that every rank makes the same number of collective calls.
    """

    packed: PackedBatch
    sampler_logprobs: torch.Tensor
    advantages: torch.Tensor
    loss_weights: torch.Tensor
    token_share: float
    is_padding: bool = False

    def as_padding(self) -> MicroBatch:
        """The same tokens with no weight, so that every rank makes the same number of collective calls."""
        return replace(self, loss_weights=torch.zeros_like(self.loss_weights), is_padding=True)


def rank_prompt_indices(num_prompts: int, minibatch: int, rank: int, world_size: int) -> list[list[int]]:
    """Returns, per minibatch, the indices of the prompts one process samples and grades: every `world_size`-th."""
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
    return [group] if len(parts) == 1 else [group.part(indices) for indices in parts]


def minibatch_size(groups: Sequence[RolloutGroup], length_limit: int, objective: Objective) -> MinibatchSize:
    """What the loss of a whole minibatch is divided by."""
    completions = [completion for group in groups for completion in group.completions]
    tokens = sum(len(completion.tokens) for completion in completions if _has_loss(completion, objective))
    return MinibatchSize(tokens, len(completions), length_limit)


def _has_loss(completion: Completion, objective: Objective) -> bool:
    return not (objective.mask_truncated and completion.finish_reason == "length")


def pack_micro_batch(
    groups: Sequence[RolloutGroup], whole: MinibatchSize, objective: Objective, device: torch.device, varlen: bool
) -> MicroBatch:
    """Packs groups, or parts of them, as one micro-batch.

    Args:
        groups: what it holds.
        whole: of the whole minibatch over all processes.
        objective: aggregation, and which completions have a loss.
        device: where the tensors go.
        varlen: for a variable-length attention kernel, see `tasks.policy.packing.pack`.
    """
    completions = [completion for group in groups for completion in group.completions]
    prompt_groups = [PromptGroup(group.prompt, tuple(c.tokens for c in group.completions)) for group in groups]
    packed = pack(prompt_groups, varlen=varlen)
    advantages = torch.tensor([advantage for group in groups for advantage in group.advantages])
    lengths = torch.tensor([len(completion.tokens) for completion in completions])
    has_loss = torch.tensor([_has_loss(completion, objective) for completion in completions])
    weights = sequence_loss_weights(lengths, whole, objective.aggregation) * has_loss
    return MicroBatch(
        packed=packed.to(device),
        sampler_logprobs=torch.tensor([lp for c in completions for lp in c.logprobs]).to(device),
        advantages=advantages[packed.completion_index].to(device),
        loss_weights=weights[packed.completion_index].to(device),
        token_share=1.0 / max(whole.tokens, 1),
    )
