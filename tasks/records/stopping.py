"""`StoppedRun`: a run that was stopped by forecast, as its manifest says."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.study.fingerprints import run_fingerprint
from tasks.study.grid import Run
from tasks.study.manifests import is_complete, read_manifest
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

STOPPED = "stopped"
"""Key of the record in the manifest of a run."""


@dataclass(frozen=True)
class StoppedRun:
    """Why a run ended before its last step.

    Attributes:
        run_id: the run.
        mark: fraction of its steps at which it was judged.
        step: the step it was stopped at.
        planned: steps it would have made.
        chance: that it would have ended below the favorite.
        favorite: id of the run of its comparison with the lowest forecast end.
        loss: forecast L at its end.
        favorite_loss: forecast L at the favorite's end.
        regret: expected L that stopping gives away: mean of max(0, favorite's end - its own).
    """

    run_id: str
    mark: float
    step: int
    planned: int
    chance: float
    favorite: str
    loss: float
    favorite_loss: float
    regret: float

    @property
    def reason(self) -> str:
        """One sentence."""
        return (
            f"stopped by forecast at step {self.step} of {self.planned}: chance {self.chance:.2g} to end below "
            f"{self.favorite} (forecast loss {self.loss:.3g} against {self.favorite_loss:.3g})"
        )


def read_stopped(params: Params, run: Run) -> StoppedRun | None:
    """The record of a run that was stopped; None for any other, finished or not."""
    folder = StudyPaths.of(params).run(run)
    values = (read_manifest(folder) or {}).get(STOPPED)
    return StoppedRun(**values) if values and is_complete(folder, run_fingerprint(params, run)) else None
