"""The prepare stage's Prefect task."""

from __future__ import annotations

from pathlib import Path

from prefect import task

from tasks.layout import Layout
from tasks.params import Params
from tasks.prepare.prepare import prepare


@task(name="prepare problems")
def prepare_problems(params: Params) -> Path:
    """Writes the study's problem sets and returns their folder."""
    prepare(params)
    return Layout.of(params).stage("prepare")
