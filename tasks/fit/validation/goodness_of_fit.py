"""How good a fit is: R2 in linear and log loss, root mean square error, AICc and BIC; warnings beside its numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.fit.data.measurements import Floats
from tasks.fit.solver.estimate import FitResult
from tasks.fit.uncertainty.inference import BootstrappedFit
from tasks.records.fits import Estimate, Flag


@dataclass(frozen=True)
class Quality:
    """Goodness of fit; None where undefined (a constant, or more parameters than points)."""

    r2_linear: float | None
    r2_log: float | None
    rmse_log: float
    aicc: float | None
    bic: float | None


def r_squared(measured: Floats, predicted: Floats) -> float | None:
    """1 - residual over total sum of squares; None where the measured values do not vary."""
    total = float(((measured - measured.mean()) ** 2).sum())
    return 1.0 - float(((measured - predicted) ** 2).sum()) / total if total > 0 else None


def quality(result: FitResult) -> Quality:
    """Scores a fit on the points it was fitted to.

    -2 log-likelihood is P log(rss / P) for Gaussian objectives (the noise variance counts as a parameter) and the
    deviance for the binomial one. Points count as independent, so differences between laws are optimistic; held-out
    error (`backtest`) is what laws are chosen by.
    """
    points = result.points
    count, parameters = len(points), result.law.parameters(len(points.sizes))
    if result.options.objective == "binomial":
        minus_two_log = result.value
    else:
        parameters += 1
        minus_two_log = count * float(np.log(max(result.value, 1e-300) / count))
    spare = count - parameters - 1
    aicc = minus_two_log + 2 * parameters + 2 * parameters * (parameters + 1) / spare if spare > 0 else None
    return Quality(
        r_squared(points.loss, 10.0**result.eta),
        r_squared(points.y, result.eta),
        float(np.sqrt(np.mean(result.residual**2))),
        aicc,
        minus_two_log + parameters * float(np.log(count)),
    )


def flags_of(fit: BootstrappedFit, profile: dict[str, Estimate]) -> list[Flag]:
    """Lists what a reader must know before using the coefficients."""
    result = fit.result
    points, flags = result.points, []
    if result.at_bound:
        flags.append(Flag("at_bound", "the non-linear parameter lies at an end of its search range"))
    flags += _of_n0(fit, profile)
    if len(points.sizes) < 4:
        flags.append(Flag("few_sizes", f"only {len(points.sizes)} sizes; a law of size wants at least 4"))
    runs = np.array([len(np.unique(points.run[points.size == index])) for index in range(len(points.sizes))])
    if (runs == 1).all():
        text = "one run per size: intervals come from blocks of each run and hold no run-to-run variation"
        flags.append(Flag("one_run_per_size", text))
    elif (runs == 1).any():
        text = (
            f"{int((runs == 1).sum())} of {len(runs)} sizes have one run; they borrow the others' run-to-run variation"
        )
        flags.append(Flag("some_single_runs", text))
    k = result.parameters.k(points.sizes)
    if (k <= 0).any():
        sizes = ", ".join(points.label(size) for size in points.sizes[k <= 0])
        flags.append(Flag("no_learning", f"loss does not fall with the resource under this law at size {sizes}"))
    if (result.eta > np.log10(1.02)).any():
        flags.append(Flag("loss_above_one", "the fitted loss exceeds 1 by more than 2 % somewhere within the data"))
    return flags


def _of_n0(fit: BootstrappedFit, profile: dict[str, Estimate]) -> list[Flag]:
    """Whether the data bound N0 at all, and how Kmax and N0 are correlated."""
    result, draws = fit.result, fit.draws.coefficients()
    if "N0" not in draws or "Kmax" not in draws:
        return []
    flags, sizes = [], result.points.sizes
    n0 = float(result.parameters.coefficients()["N0"])
    open_ended = "N0" in profile and (profile["N0"].low is None or profile["N0"].high is None)
    if open_ended or not sizes[0] / 10 <= n0 <= sizes[-1] * 10:
        reason = "its profile interval is open" if open_ended else "it lies more than 10 times outside the fitted sizes"
        flags.append(
            Flag("n0_unidentified", f"N0 = {n0:.3g} is not identified: {reason}; use k(N) inside the data only")
        )
    with np.errstate(divide="ignore", invalid="ignore"):
        pairs = np.log(np.stack([draws["Kmax"], draws["N0"]]))
    pairs = pairs[:, np.isfinite(pairs).all(0)]
    if pairs.shape[1] > 10 and (pairs.std(1) > 0).all():
        rho = float(np.corrcoef(pairs)[0, 1])
        if rho > 0.9:
            flags.append(Flag("ridge", f"Kmax and N0 trade off against each other (correlation {rho:.2f} in log)"))
    return flags
