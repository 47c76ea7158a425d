"""Flow of the fit stage."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from tasks.fit.steps import fit_study
from tasks.study.params import load_params


@flow(name="fit")
def fit(params_file: Path) -> Path:
    """Fits the laws to the study's own points and returns the stage's folder."""
    return fit_study(load_params(params_file))
