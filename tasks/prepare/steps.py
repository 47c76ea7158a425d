"""The prepare stage's Prefect task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task

from tasks.prepare.prepare import prepare
from tasks.runtime.prefect_options import task_options
from tasks.study.fingerprints import prepare_fingerprint
from tasks.study.params import Params
from tasks.study.paths import StudyPaths


def _problems(arguments: dict[str, Any]) -> tuple[Path, str]:
    params: Params = arguments["params"]
    return StudyPaths.of(params).stage("prepare"), prepare_fingerprint(params)


@task(name="prepare problems", **task_options("prepare", _problems))
def prepare_problems(params: Params) -> Path:
    """Writes the study's problem sets and returns their folder."""
    prepare(params)
    return StudyPaths.of(params).stage("prepare")
