"""`variances.json` of the fit stage: where the variance of a measured loss comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.records.json_files import JsonFile


@dataclass(frozen=True)
class VarianceParts:
    """Variance of log10 L of one evaluation at the end of a run, for one size.

    Attributes:
        variant: base or instruct.
        size: name of the size.
        seeds: runs of the scale axis.
        between_seeds: variance between their ends, answers taken out; null with fewer than two.
        own_models: whether every seed has an initial model of its own, so that `between_seeds` holds both sources.
        repeats: runs of one initial model, with reuse factors up to `tasks.fit.validation.variances.MOST_REUSE`.
        between_runs: variance between their ends, answers taken out; null with fewer than three of them.
        answers: variance from one evaluation to the next.
    """

    variant: str
    size: str
    seeds: int
    between_seeds: float | None
    own_models: bool
    repeats: int
    between_runs: float | None
    answers: float

    @property
    def models(self) -> float | None:
        """Variance between initial models: between seeds less between runs of one model; null where not measured."""
        if not self.own_models or self.between_seeds is None or self.between_runs is None:
            return None
        return max(self.between_seeds - self.between_runs, 0.0)


@dataclass(frozen=True)
class VariancesFile(JsonFile):
    """variances.json."""

    NAME: ClassVar[str] = "variances.json"
    sizes: list[VarianceParts]
