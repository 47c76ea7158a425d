"""Reuse subsets: nested, exactly one tau-th of the rows each, the difficulty mix kept within one row.

Let n_h be the rows of stratum h and c_h(tau) those it gives to subset tau. Required are integers with
`floor(n_h/tau) <= c_h(tau) <= ceil(n_h/tau)`, `sum_h c_h(tau) = n/tau` and `c_h` falling in tau (nestedness). Rounding
each subset by itself can contradict the next; taken together these constraints are two laminar families, so a vertex of
the linear program is integral and one always exists (n_h/tau itself satisfies them). Also desired: that sums over whole
groups of strata (all beyond a difficulty, all of a level) stay within one row too; a small integer program minimizes
what they miss, and where its node limit ends the search the linear program's vertex is taken.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, linprog, milp
from scipy.sparse import block_array, csr_array, eye_array, kron

Integers = NDArray[np.int64]

MAX_NODES = 500
GOLDEN_RATIO = (5**0.5 - 1) / 2
TOLERANCE = 1.0 - 1e-4  # wider than the solver's tolerances


def nested_subsets(
    strata: Integers, factors: Sequence[int], seed: int, groups: Sequence[Integers] = ()
) -> dict[int, list[int]]:
    """Chooses the rows of each reuse subset.

    Args:
        strata: stratum of each row, numbered 0.. in order of difficulty (either way); rows in curriculum order.
        factors: reuse factors; each divides the number of rows.
        seed: which rows of a stratum are taken first; they are spread evenly over it.
        groups: coarser labels of each row (a level, say) whose mix should be kept as well; every stratum lies within
            one group of each labelling.

    Returns:
        Row numbers by factor, ascending (curriculum order).
    """
    taus = sorted(set(factors))
    if not taus:
        return {}
    labels, first, member = np.unique(strata, return_index=True, return_inverse=True)
    upto = np.tri(len(labels), dtype=np.int64)
    unions = [np.asarray(group)[first][None, :] == np.unique(group)[:, None] for group in groups]
    counts = allocate(np.bincount(member, minlength=len(labels)), taus, np.concatenate([upto, *unions]).astype(float))
    subsets: dict[int, list[int]] = {tau: [] for tau in taus}
    for stratum in range(len(labels)):
        rows = _low_discrepancy_order(
            np.flatnonzero(member == stratum), np.random.default_rng([seed, 4, stratum]).random()
        )
        for tau, count in zip(taus, counts[stratum].tolist(), strict=True):
            subsets[tau] += rows[:count].tolist()
    return {tau: sorted(rows) for tau, rows in subsets.items()}


def _low_discrepancy_order(rows: Integers, start: float) -> Integers:
    """Orders rows so that every beginning of the order is spread evenly over them (steps of the golden ratio)."""
    return rows[np.argsort((start + np.arange(len(rows)) * GOLDEN_RATIO) % 1.0, kind="stable")]


def allocate(sizes: Integers, taus: Sequence[int], unions: NDArray[np.float64]) -> Integers:
    """Rows each stratum gives to each subset.

    Args:
        sizes: rows of each stratum, shape (strata,).
        taus: reuse factors, ascending; each divides the sum of `sizes`.
        unions: sets of strata that should keep their fraction too, one 0/1 row each, shape (unions, strata).

    Returns:
        Counts, shape (strata, taus); see the module's first lines.
    """
    exact = sizes[:, None] / np.asarray(taus, dtype=float)[None, :]
    low, high = sizes[:, None] // taus, -(-sizes[:, None] // np.asarray(taus))
    totals = np.asarray([int(sizes.sum()) // tau for tau in taus])
    sum_matrix = csr_array(np.tile(np.eye(len(taus)), len(sizes)))
    nesting = kron(eye_array(len(sizes)), np.eye(len(taus), k=1)[:-1] - np.eye(len(taus))[:-1], format="csr")
    grouping = kron(csr_array(unions), eye_array(len(taus)), format="csr")
    cost = -(exact - low).ravel()  # round up where the remainder is large
    counts = _with_groups(low, high, cost, (sum_matrix, totals), nesting, (grouping, grouping @ exact.ravel()))
    if counts is None:
        bounds = np.stack([low.ravel(), high.ravel()], axis=1)
        nested = {"A_ub": nesting, "b_ub": np.zeros(nesting.shape[0])} if nesting.shape[0] else {}
        solved = linprog(cost, A_eq=sum_matrix, b_eq=totals, bounds=bounds, method="highs-ds", **nested)
        assert solved.success, solved.message
        counts = solved.x
    rounded = np.rint(counts).astype(np.int64).reshape(exact.shape)
    assert np.array_equal(rounded.sum(axis=0), totals), "the allocation is not integral"
    return rounded


def _with_groups(
    low: Integers,
    high: Integers,
    cost: NDArray[np.float64],
    totals: tuple[csr_array, Integers],
    nesting: csr_array,
    groups: tuple[csr_array, NDArray[np.float64]],
) -> NDArray[np.float64] | None:
    """Solves the integer program: variables are the counts, then one slack per group and subset."""
    grouping, exact_sums = groups
    slacks = eye_array(grouping.shape[0])
    none = csr_array((totals[0].shape[0], grouping.shape[0]))
    constraints = [
        LinearConstraint(block_array([[totals[0], none]]), totals[1], totals[1]),
        LinearConstraint(block_array([[grouping, slacks]]), exact_sums - TOLERANCE, np.inf),
        LinearConstraint(block_array([[grouping, -slacks]]), -np.inf, exact_sums + TOLERANCE),
    ]
    if nesting.shape[0]:
        padding = csr_array((nesting.shape[0], grouping.shape[0]))
        constraints.append(LinearConstraint(block_array([[nesting, padding]]), -np.inf, 0.0))
    unlimited = np.full(grouping.shape[0], np.inf)
    solved = milp(
        np.concatenate([cost * 1e-3, np.ones(grouping.shape[0])]),
        integrality=np.concatenate([np.ones(low.size), np.zeros(grouping.shape[0])]),
        bounds=Bounds(
            np.concatenate([low.ravel(), np.zeros_like(unlimited)]), np.concatenate([high.ravel(), unlimited])
        ),
        constraints=constraints,
        options={"node_limit": MAX_NODES, "mip_rel_gap": 1e-3},
    )
    return None if solved.x is None else solved.x[: low.size]
