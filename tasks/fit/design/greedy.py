"""Which runs to buy for a forecast: one purchase after the other, each the one that tells most for its price.

A purchase is a first run of a size, another seed, or longer runs of a size for all its seeds; it is chosen by the fall
of the log variance of the target's log10 L per unit of the budget. First steps of the target itself, where they may be
bought, come first: every number of them is tried with the best use of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.design.information import DesignModel

FIRST_STEPS, STEP_RATIO, TARGET_RATIO = 4, 1.3, 1.1
"""Lengths that are considered: geometric ladders from `FIRST_STEPS` to the longest run, of sizes and of the target."""
LEAST_GAIN = 3e-3
"""A purchase lowers the standard deviation at least by this share."""
MOST_OF_TARGET = 0.5
"""Of the target's steps: whoever can pay for more needs no forecast."""

Kind = Literal["first run", "seed", "longer", "target"]
Price = Callable[[float, int], float]
"""What a run of size N and so many steps costs, in units of the budget."""


@dataclass(frozen=True)
class Runs:
    """Runs of one size: `seeds` of `steps` steps each."""

    n: float
    steps: int
    seeds: int


@dataclass(frozen=True)
class Purchase:
    """One purchase.

    Attributes:
        kind: first run, another seed, longer runs, or first steps of the target.
        runs: what is then had of the size.
        cost: price of this purchase.
        total: price of all so far.
        before: standard deviation of the target's log10 L before it.
        after: and with it.
    """

    kind: Kind
    runs: Runs
    cost: float
    total: float
    before: float
    after: float


def step_ladder(last: int, ratio: float) -> list[int]:
    """Lengths from about `FIRST_STEPS` to `last`, each `ratio` times the one before, to whole steps."""
    count = max(int(np.log(last / FIRST_STEPS) / np.log(ratio)), 0)
    return sorted({max(round(last / ratio**power), 1) for power in range(count + 1)})


def buy(
    model: DesignModel,
    sizes: list[float],
    budget: float,
    price: Price,
    owned: Mapping[float, Floats] | None = None,
    target_steps: bool = False,
) -> list[Purchase]:
    """Buys until nothing that is affordable tells more.

    Args:
        model: what is expected of runs.
        sizes: N that may be bought; the target is not among them.
        budget: what may be spent.
        price: of a run.
        owned: information F of runs that are there already, by size.
        target_steps: whether first steps of the target may be bought.

    Returns:
        The purchases in order; none where the budget buys nothing.
    """
    shop = _Shop(model, price, owned or {})
    best = _greedy(shop, sizes, budget, [])
    for steps in step_ladder(model.last_step, TARGET_RATIO) if target_steps else []:
        cost = price(model.target, steps)
        if cost <= budget and steps <= MOST_OF_TARGET * model.last_step:
            before, first = shop.deviation([]), Runs(model.target, steps, 1)
            bought = _greedy(
                shop, sizes, budget, [Purchase("target", first, cost, cost, before, shop.deviation([first]))]
            )
            if not best or bought[-1].after < best[-1].after:
                best = bought
    return best


def final_runs(purchases: list[Purchase]) -> list[Runs]:
    """What is had in the end, smallest size first."""
    return sorted({entry.runs.n: entry.runs for entry in purchases}.values(), key=lambda runs: runs.n)


def _greedy(shop: _Shop, sizes: list[float], budget: float, bought: list[Purchase]) -> list[Purchase]:
    """Adds purchases of `sizes` to those already made."""
    ladder = step_ladder(shop.model.last_step, STEP_RATIO)
    while True:
        have = {runs.n: runs for runs in final_runs(bought)}
        total, before = (bought[-1].total if bought else 0.0), shop.deviation(have.values())
        options = []
        for kind, runs in (option for n in sizes for option in _options(have.get(n, Runs(n, 0, 0)), ladder)):
            cost = shop.cost(runs) - (shop.cost(have[runs.n]) if runs.n in have else 0.0)
            if total + cost > budget * (1 + 1e-12):
                continue
            after = shop.deviation((have | {runs.n: runs}).values())
            if after < before * (1.0 - LEAST_GAIN):
                options.append((np.log(before / after) / cost, Purchase(kind, runs, cost, total + cost, before, after)))
        if not options:
            return bought
        bought = [*bought, max(options, key=lambda option: option[0])[1]]


def _options(have: Runs, ladder: list[int]) -> list[tuple[Kind, Runs]]:
    """What may be bought next of one size."""
    if not have.seeds:
        return [("first run", Runs(have.n, ladder[0], 1))]
    options: list[tuple[Kind, Runs]] = [("seed", replace(have, seeds=have.seeds + 1))]
    longer = next((steps for steps in ladder if steps > have.steps), None)
    return options if longer is None else [*options, ("longer", replace(have, steps=longer))]


class _Shop:
    """Prices and worth of what is had, each computed once."""

    def __init__(self, model: DesignModel, price: Price, owned: Mapping[float, Floats]) -> None:
        self.model, self._price, self._owned = model, price, owned
        self._of_one: dict[tuple[float, int], Floats] = {}
        self._evidence: dict[Runs, Floats] = {}

    def cost(self, runs: Runs) -> float:
        """What the runs cost in all."""
        return runs.seeds * self._price(runs.n, runs.steps)

    def deviation(self, have: Iterable[Runs]) -> float:
        """Standard deviation of the target's log10 L, with what is owned and had."""
        runs = {n: Runs(n, 0, 0) for n in self._owned} | {runs.n: runs for runs in have}
        target = runs.pop(self.model.target, Runs(self.model.target, 0, 0))
        evidence = sum((self._tell(of_size) for of_size in runs.values()), np.zeros((4, 4)))
        return float(np.sqrt(self.model.variance(evidence, self._information(target))))

    def _tell(self, runs: Runs) -> Floats:
        if runs not in self._evidence:
            self._evidence[runs] = self.model.evidence(runs.n, self._information(runs))
        return self._evidence[runs]

    def _information(self, runs: Runs) -> Floats:
        key = (runs.n, runs.steps)
        if key not in self._of_one:
            self._of_one[key] = self.model.line(runs.n).information(runs.steps)
        return self._owned.get(runs.n, np.zeros((2, 2))) + runs.seeds * self._of_one[key]
