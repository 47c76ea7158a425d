"""Which rank computes which completions of a minibatch, and in which micro-batch: equal work, whatever the lengths.

All ranks wait for the slowest at every micro-batch (FSDP2 gathers each layer on all of them together), so the cost of
a minibatch is the sum over micro-batches of the longest rank's rows, times the ranks. Groups are therefore dealt out
anew once their lengths are known:

1. the number of micro-batches per rank is the smallest that works; ranks x that number are the bins;
2. a group larger than a bin's even share is cut between its completions, each part with the prompt;
3. parts go to bins largest first, each to the bin with the fewest rows (longest processing time first, Graham 1969);
4. bins are sorted by rows and dealt out, those of one micro-batch to the ranks beside each other.

The loss is a sum over tokens with weights fixed per whole minibatch, and advantages are taken before, so nothing but
the order of sums depends on it. Difference from verl's `balance_batch`, which levels whole sequences over ranks by
Karmarkar-Karp and micro-batches afterwards: here both are one partition, and prompts stay shared.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

from tasks.train.batching import RolloutGroup, split_by_tokens

Parts = list[RolloutGroup]


def balanced_micro_batches(groups: Sequence[RolloutGroup], token_budget: int, num_ranks: int) -> list[list[Parts]]:
    """Deals a minibatch out to ranks and micro-batches.

    Args:
        groups: of the whole minibatch, in the same order on every rank; at least as many as ranks.
        token_budget: rows of a micro-batch; only a prompt with one completion may have more.
        num_ranks: ranks.

    Returns:
        Per rank its micro-batches' groups; at least one each, and no rank has two more than another. With one rank the
        groups keep their order.
    """
    if num_ranks == 1:
        return [split_by_tokens(groups, token_budget)]
    bins = sorted(_fill_bins(groups, token_budget, num_ranks), key=_rows, reverse=True)
    ranks: list[list[Parts]] = [[] for _ in range(num_ranks)]
    totals = [0] * num_ranks
    for start in range(0, len(bins), num_ranks):
        order = sorted(range(num_ranks), key=lambda rank: totals[rank])
        for rank, parts in zip(order, bins[start : start + num_ranks], strict=False):
            ranks[rank].append(parts)
            totals[rank] += _rows(parts)
    return ranks


def _fill_bins(groups: Sequence[RolloutGroup], budget: int, num_ranks: int) -> list[Parts]:
    """The bins that hold anything, with as few per rank as keep to the budget."""
    total = _rows(groups)
    most = -(-sum(len(group.completions) for group in groups) // num_ranks)
    for per_rank in range(min(math.ceil(total / (num_ranks * budget)), most), most + 1):
        size = per_rank * num_ranks
        parts = [part for group in groups for part in _cut_evenly(group, total / size, budget)]
        bins = _largest_first(parts, size)
        if all(len(one) <= 1 or _rows(one) <= budget for one in bins):
            break
    return [one for one in bins if one]


def _cut_evenly(group: RolloutGroup, share: float, budget: int) -> Parts:
    """Cuts a group into about `rows / share` parts of nearly equal rows that keep to the budget where they can."""
    for count in range(min(math.ceil(group.num_tokens / share), len(group.completions)), len(group.completions) + 1):
        bins: list[list[int]] = [[] for _ in range(count)]
        # Completions of one token add no row: of bins with equal rows the emptiest takes the next one.
        rows = [(len(group.prompt), 0, place) for place in range(count)]
        for index in sorted(range(len(group.completions)), key=lambda i: -len(group.completions[i].tokens)):
            used, held, place = heapq.heappop(rows)
            bins[place].append(index)
            heapq.heappush(rows, (used + len(group.completions[index].tokens) - 1, held + 1, place))
        if max(rows)[0] <= budget:
            break
    return [group] if count == 1 else [group.part(sorted(indices)) for indices in bins]


def _largest_first(parts: Parts, num_bins: int) -> list[Parts]:
    bins: list[Parts] = [[] for _ in range(num_bins)]
    rows = [(0, place) for place in range(num_bins)]
    for part in sorted(parts, key=lambda part: -part.num_tokens):
        used, place = heapq.heappop(rows)
        bins[place].append(part)
        heapq.heappush(rows, (used + part.num_tokens, place))
    return bins


def _rows(groups: Sequence[RolloutGroup]) -> int:
    return sum(group.num_tokens for group in groups)
