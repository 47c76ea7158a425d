"""Rows that a minibatch's ranks compute or wait for in vain: dealt out in order, and balanced after the rollouts.

    python benchmarks/rank_balance.py [--draws 20]

128 prompts x 8 completions, lognormal lengths of mean 700 tokens (log-spread 0.5 between prompts and 0.5 within one),
prompts of about 150. A micro-batch costs its longest rank's rows on every rank. Useful are the completions and each
prompt once. `in order` is how it was before: every rank keeps the prompts it sampled, packed in order.
"""

from __future__ import annotations

import argparse
import statistics

import numpy as np

from tasks.sampling.protocol import Completion
from tasks.train.balance import balanced_micro_batches
from tasks.train.batching import RolloutGroup, split_by_tokens

PROMPTS, COMPLETIONS, LONGEST = 128, 8, 4096
RANKS, BUDGETS = (4, 8, 16, 32), (6144, 16384)


def draw(numbers: np.random.Generator) -> list[RolloutGroup]:
    """A minibatch of groups with lengths only."""
    spread = 0.5 * numbers.standard_normal((PROMPTS, 1)) + 0.5 * numbers.standard_normal((PROMPTS, COMPLETIONS))
    lengths = np.clip(np.rint(np.exp(np.log(700) - 0.25 + spread)), 1, LONGEST).astype(int)
    widths = np.clip(np.rint(np.exp(np.log(150) - 0.08 + 0.4 * numbers.standard_normal(PROMPTS))), 10, 2048).astype(int)
    zeros = (0.0,) * COMPLETIONS
    return [
        RolloutGroup(
            str(name),
            (0,) * int(widths[name]),
            tuple(Completion((0,) * n, (), "stop") for n in lengths[name].tolist()),
            zeros,
            zeros,
        )
        for name in range(PROMPTS)
    ]


def waste(groups: list[RolloutGroup], ranks: list[list[list[RolloutGroup]]]) -> float:
    """Fraction of (longest rank's rows, summed over micro-batches) x ranks that is of no use."""
    rows = [[sum(part.num_tokens for part in micro) for micro in micros] for micros in ranks]
    slots = max(map(len, rows))
    cost = sum(max(one[slot] for one in rows if slot < len(one)) for slot in range(slots))
    return 1.0 - sum(group.num_tokens for group in groups) / (cost * len(ranks))


def main() -> None:
    """Prints mean and worst waste, and micro-batches per rank, by ranks and budget."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20, help="minibatches drawn")
    draws = [draw(np.random.default_rng(seed)) for seed in range(parser.parse_args().draws)]
    print(f"{'budget':>6} {'ranks':>5} {'in order':>16} {'balanced':>16} {'micro-batches':>14}")
    for budget in BUDGETS:
        for count in RANKS:
            before = [[split_by_tokens(groups[rank::count], budget) for rank in range(count)] for groups in draws]
            after = [balanced_micro_batches(groups, budget, count) for groups in draws]
            cells = []
            for ways in (before, after):
                found = [waste(groups, ranks) for groups, ranks in zip(draws, ways, strict=True)]
                cells.append(f"{statistics.mean(found):.3f} (<= {max(found):.3f})")
            slots = [statistics.mean(max(map(len, ranks)) for ranks in ways) for ways in (before, after)]
            print(f"{budget:>6} {count:>5} {cells[0]:>16} {cells[1]:>16} {slots[0]:>6.1f} {slots[1]:>6.1f}")


if __name__ == "__main__":
    main()
