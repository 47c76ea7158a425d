"""Reuse subsets: nested, exactly one tau-th of the rows each, the difficulty mix kept within one row per stratum.

Let n_h be the rows of stratum h and c_h(tau) those it gives to subset tau. Wanted are integers with
`floor(n_h/tau) <= c_h(tau) <= ceil(n_h/tau)`, `sum_h c_h(tau) = n/tau` and `c_h` falling in tau (nestedness). Rounding
each subset by itself can contradict the next; taken together the constraints are two laminar families, so a vertex of
the linear programme is integral and one always exists (n_h/tau itself satisfies them).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import csr_matrix, lil_matrix


def nested_subsets(strata: Sequence[int], factors: Sequence[int], seed: int) -> dict[int, list[int]]:
    """Chooses the rows of each reuse subset.

    Args:
        strata: stratum of each row, rows in curriculum order.
        factors: reuse factors; each divides the number of rows.
        seed: which rows of a stratum are taken first.

    Returns:
        Row numbers by factor, ascending (curriculum order).
    """
    taus = sorted(set(factors))
    labels, member = np.unique(np.asarray(strata), return_inverse=True)
    if not taus:
        return {}
    counts = allocate(np.bincount(member, minlength=len(labels)), taus)
    chosen: dict[int, list[int]] = {tau: [] for tau in taus}
    for stratum in range(len(labels)):
        rows = np.random.default_rng([seed, 4, stratum]).permutation(np.flatnonzero(member == stratum))
        for tau, count in zip(taus, counts[stratum].tolist(), strict=True):
            chosen[tau] += rows[:count].tolist()
    return {tau: sorted(rows) for tau, rows in chosen.items()}


def allocate(sizes: NDArray[np.int64], taus: Sequence[int]) -> NDArray[np.int64]:
    """Rows each stratum gives to each subset, shape (strata, taus); see the module's first lines."""
    exact = sizes[:, None] / np.asarray(taus, dtype=float)[None, :]
    low, high = sizes[:, None] // taus, -(-sizes[:, None] // np.asarray(taus))
    totals = np.asarray([int(sizes.sum()) // tau for tau in taus])
    solution = linprog(
        -(exact - low).ravel(),  # round up where the remainder is large
        A_ub=_falling(*exact.shape),
        b_ub=np.zeros(exact.shape[0] * (exact.shape[1] - 1)) if exact.shape[1] > 1 else None,
        A_eq=csr_matrix(np.tile(np.eye(len(taus)), len(sizes))),
        b_eq=totals,
        bounds=np.stack([low.ravel(), high.ravel()], axis=1),
        method="highs-ds",
    )
    assert solution.success, solution.message
    counts = np.rint(solution.x).astype(np.int64).reshape(exact.shape)
    assert np.array_equal(counts.sum(axis=0), totals), "the linear programme's vertex is not integral"
    return cast("NDArray[np.int64]", counts)


def _falling(strata: int, taus: int) -> csr_matrix | None:
    """Rows of the inequality c_h(next larger tau) - c_h(tau) <= 0."""
    if taus == 1:
        return None
    matrix = lil_matrix((strata * (taus - 1), strata * taus))
    for stratum in range(strata):
        for tau in range(taus - 1):
            row = stratum * (taus - 1) + tau
            matrix[row, stratum * taus + tau] = -1.0
            matrix[row, stratum * taus + tau + 1] = 1.0
    return matrix.tocsr()
