"""From rollouts to packed micro-batches: which groups an optimiser update sees, on which process, in what pieces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from tasks.policy.packing import Group, Packed, pack
from tasks.sampling.protocol import Completion
from tasks.train.objective import token_weights

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
    def rows(self) -> int:
        """Rows the group takes in a packed batch."""
        return len(self.prompt) + sum(len(completion.tokens) - 1 for completion in self.completions)


@dataclass(frozen=True)
class MicroBatch:
    """A packed piece of a minibatch; all tensors [R], aligned with `packed.targets`.

    Attributes:
        packed: the tokens.
        sampled: log-probabilities the sampler reported.
        advantages: advantage of each token's completion.
        weights: weight of each token in the minibatch's loss (see `tasks.train.objective`).
        live: False where it only keeps a process in step with the others.
    """

    packed: Packed
    sampled: torch.Tensor
    advantages: torch.Tensor
    weights: torch.Tensor
    live: bool = True

    def silent(self) -> MicroBatch:
        """The same tokens with no weight, so that every rank makes the same number of collective calls."""
        return replace(self, weights=torch.zeros_like(self.weights), live=False)


def rank_share(count: int, minibatch: int, rank: int, world: int) -> list[list[int]]:
    """Returns, per minibatch, the indices of the prompts one process owns: every world-th of each minibatch."""
    return [list(range(start + rank, start + minibatch, world)) for start in range(0, count, minibatch)]


def split_by_tokens(groups: Sequence[RolloutGroup], budget: int) -> list[list[RolloutGroup]]:
    """Cuts groups, in order, into pieces of at most `budget` rows; a larger group is cut between its completions."""
    pieces: list[list[RolloutGroup]] = [[]]
    used = 0
    for part in (part for group in groups for part in _cut(group, budget)):
        if pieces[-1] and used + part.rows > budget:
            pieces.append([])
            used = 0
        pieces[-1].append(part)
        used += part.rows
    return [piece for piece in pieces if piece]


def _cut(group: RolloutGroup, budget: int) -> list[RolloutGroup]:
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
    budget: int,
    totals: tuple[int, int],
    aggregation: Aggregation,
    device: torch.device,
    ragged: bool = False,
) -> list[MicroBatch]:
    """Packs one process's share of a minibatch.

    Args:
        groups: the process's groups.
        budget: rows per micro-batch.
        totals: (completion tokens, completions) of the whole minibatch over all processes.
        aggregation: token_mean or sequence_mean.
        device: where the tensors go.
        ragged: for a variable-length attention kernel, see `tasks.policy.packing.pack`.
    """
    return [_micro_batch(piece, totals, aggregation, device, ragged) for piece in split_by_tokens(groups, budget)]


def _micro_batch(
    groups: Sequence[RolloutGroup],
    totals: tuple[int, int],
    aggregation: Aggregation,
    device: torch.device,
    ragged: bool,
) -> MicroBatch:
    completions = [completion for group in groups for completion in group.completions]
    laid_out = [Group(group.prompt, tuple(c.tokens for c in group.completions)) for group in groups]
    packed = pack(laid_out, ragged=ragged)
    per_sequence = torch.tensor([advantage for group in groups for advantage in group.advantages])
    lengths = torch.tensor([len(completion.tokens) for completion in completions])
    weights = token_weights(lengths, totals, aggregation)[packed.owner]
    return MicroBatch(
        packed=packed.to(device),
        sampled=torch.tensor([lp for c in completions for lp in c.logprobs]).to(device),
        advantages=per_sequence[packed.owner].to(device),
        weights=weights.to(device),
    )
