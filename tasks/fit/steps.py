"""The fit stage's Prefect task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task

from tasks.fit import study
from tasks.runtime.prefect_options import options
from tasks.study.fingerprints import fit_mark
from tasks.study.grid import expand_grid
from tasks.study.params import Params
from tasks.study.paths import Layout


def _laws(given: dict[str, Any]) -> tuple[Path, str]:
    params: Params = given["params"]
    return Layout.of(params).stage("fit"), fit_mark(params, expand_grid(params))


@task(name="fit laws", **options("fit", _laws))
def fit_study(params: Params) -> Path:
    """Fits the laws to all runs and returns the folder of the results."""
    study.fit_study(params)
    return Layout.of(params).stage("fit")
