"""The fit stage's Prefect task."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from tasks.fit.study import fit_study
from tasks.layout import Layout
from tasks.params import Params


@task(name="fit laws", tags=["fit"])
def fit_laws(params: Params) -> Path:
    """Fits the laws to all runs and returns the folder of the results."""
    fit_study(params)
    return Layout.of(params).stage("fit")
