"""Warnings that belong beside a fit's numbers."""

from __future__ import annotations

import numpy as np

from tasks.fit.uncertainty.inference import BootstrappedFit
from tasks.records.fits import Estimate, Flag


def flags_of(fit: BootstrappedFit, profile: dict[str, Estimate]) -> list[Flag]:
    """Lists what a reader must know before using the coefficients."""
    result = fit.result
    points, found = result.points, []
    if result.at_bound:
        found.append(Flag("at_bound", "the non-linear parameter lies at an end of its search range"))
    found += _of_n0(fit, profile)
    if len(points.sizes) < 4:
        found.append(Flag("few_sizes", f"only {len(points.sizes)} sizes; a law of size wants at least 4"))
    runs = np.array([len(np.unique(points.run[points.size == index])) for index in range(len(points.sizes))])
    if (runs == 1).all():
        text = "one run per size: intervals come from blocks of each run and hold no run-to-run variation"
        found.append(Flag("one_run_per_size", text))
    elif (runs == 1).any():
        text = (
            f"{int((runs == 1).sum())} of {len(runs)} sizes have one run; they borrow the others' run-to-run variation"
        )
        found.append(Flag("some_single_runs", text))
    k = result.parameters.k(points.sizes)
    if (k <= 0).any():
        sizes = ", ".join(points.label(size) for size in points.sizes[k <= 0])
        found.append(Flag("no_learning", f"loss does not fall with the resource under this law at size {sizes}"))
    if (result.eta > np.log10(1.02)).any():
        found.append(Flag("loss_above_one", "the fitted loss exceeds 1 by more than 2 % somewhere within the data"))
    return found


def _of_n0(fit: BootstrappedFit, profile: dict[str, Estimate]) -> list[Flag]:
    result, drawn = fit.result, fit.draws.coefficients()
    if "N0" not in drawn or "Kmax" not in drawn:
        return []
    found, sizes = [], result.points.sizes
    n0 = float(result.parameters.coefficients()["N0"])
    open_ended = "N0" in profile and (profile["N0"].low is None or profile["N0"].high is None)
    if open_ended or not sizes[0] / 10 <= n0 <= sizes[-1] * 10:
        reason = "its profile interval is open" if open_ended else "it lies more than 10 times outside the fitted sizes"
        found.append(
            Flag("n0_unidentified", f"N0 = {n0:.3g} is not identified: {reason}; use k(N) inside the data only")
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = np.log(np.stack([drawn["Kmax"], drawn["N0"]]))
    pairs = pairs[:, np.isfinite(pairs).all(0)]
    if pairs.shape[1] > 10 and (pairs.std(1) > 0).all():
        rho = float(np.corrcoef(pairs)[0, 1])
        if rho > 0.9:
            found.append(Flag("ridge", f"Kmax and N0 trade off against each other (correlation {rho:.2f} in log)"))
    return found
