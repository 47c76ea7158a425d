"""The fit stage's Prefect task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task

from tasks.fit import study
from tasks.runtime.prefect_options import task_options
from tasks.study.fingerprints import fit_fingerprint
from tasks.study.grid import expand_grid
from tasks.study.params import Params
from tasks.study.paths import StudyPaths


def _laws(arguments: dict[str, Any]) -> tuple[Path, str]:
    params: Params = arguments["params"]
    return StudyPaths.of(params).stage("fit"), fit_fingerprint(params, expand_grid(params))


@task(name="fit laws", **task_options("fit", _laws))
def fit_study(params: Params) -> Path:
    """Fits the laws to all runs and returns the folder of the results."""
    study.fit_study(params)
    return StudyPaths.of(params).stage("fit")
