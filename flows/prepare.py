"""Flow of the prepare stage."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from tasks.prepare.steps import prepare_problems
from tasks.study.params import load_params


@flow(name="prepare")
def prepare(params_file: Path) -> Path:
    """Makes the study's problem sets and returns their folder."""
    return prepare_problems(load_params(params_file))
