"""The prepare stage's Prefect task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task

from tasks.prepare.prepare import prepare
from tasks.runtime.prefect_options import options
from tasks.study.fingerprints import prepare_mark
from tasks.study.params import Params
from tasks.study.paths import Layout


def _problems(given: dict[str, Any]) -> tuple[Path, str]:
    params: Params = given["params"]
    return Layout.of(params).stage("prepare"), prepare_mark(params)


@task(name="prepare problems", **options("prepare", _problems))
def prepare_problems(params: Params) -> Path:
    """Writes the study's problem sets and returns their folder."""
    prepare(params)
    return Layout.of(params).stage("prepare")
