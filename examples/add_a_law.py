"""Adds a law of one's own and compares it with the published one: k(N) grows by d per decade of N, without an end.

    python examples/add_a_law.py [TABLE.csv]

In the program the law is a file of `tasks/fit/laws/` that ends with `LAW = ...` and is listed in that package's
`_MODULES`; then `rlscale fit --law log_k` knows it. Its test is one more entry of `CASES` in tests/test_fit_laws.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from tasks.fit.data.columns import Columns, resolve
from tasks.fit.data.groups import groups_of
from tasks.fit.data.measurements import Floats
from tasks.fit.data.table import read_table
from tasks.fit.laws import LAWS, law_named
from tasks.fit.laws.forms import Basis, LineLaw
from tasks.fit.solver.estimate import Options, fit_law
from tasks.fit.uncertainty.inference import with_draws

PUBLISHED = Path(__file__).parents[1] / "tests" / "data" / "published" / "base_compute.csv"


def _basis(theta: Floats, sizes: Floats, reference: float) -> Basis:
    """log10 L = beta_0 (-x) + beta_1 (-log10(N / Nref) x) + E_i: linear in everything, no theta to search."""
    decades = np.log10(sizes / reference)
    u = -np.stack([np.ones_like(sizes), decades], axis=-1)
    u = np.broadcast_to(u, (*np.shape(theta), *u.shape))
    return u, np.zeros_like(u)


def _coefficients(theta: Floats, beta: Floats, reference: float) -> dict[str, Floats]:
    """c is k of a model with one parameter, which is far outside: k at 1B says more and is given too."""
    c = beta[..., 0] - beta[..., 1] * np.log10(reference)
    return {"c": c, "d": beta[..., 1], "k(1B)": c + 9 * beta[..., 1]}


LAW = LineLaw(
    name="log_k",
    equation="log L = -(c + d log N) log X + E_i",
    source="examples/add_a_law.py",
    free_levels=True,
    basis=_basis,
    gradient=None,
    search=None,
    coefficients=_coefficients,
    minimum_sizes=2,
)


def main(path: Path) -> None:
    """Fits three laws to the first group of a table and prints what each explains."""
    table = read_table(path)
    name, points = next(iter(groups_of(table, resolve(table, Columns())[0]).items()))
    LAWS[LAW.name] = LAW
    print(f"{path.name}, {name}: {len(points)} points, {len(points.sizes)} sizes")
    for law in ("saturating", "power_k", "log_k"):
        found = with_draws(fit_law(points, law_named(law), Options(draws=500)))
        rmse = float(np.sqrt(np.mean(found.result.residual**2)))
        numbers = ", ".join(
            f"{key} = {value:.4g} [{low:.4g}, {high:.4g}]"
            for key, value in found.result.parameters.coefficients().items()
            for low, high in [np.quantile(found.draws.coefficients()[key], [0.025, 0.975])]
        )
        print(f"{law:10}  RMSE of log10 L {rmse:.4f}   {numbers}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PUBLISHED)
