"""The report stage's Prefect task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task

from tasks.report.build import build_report
from tasks.runtime.prefect_options import task_options
from tasks.study.fingerprints import report_fingerprint
from tasks.study.params import Params
from tasks.study.paths import StudyPaths


def _page(given: dict[str, Any]) -> tuple[Path, str]:
    return StudyPaths.of(given["params"]).stage("report"), report_fingerprint(given["params"])


@task(name="write_report", **task_options("report", _page))
def write_report(params: Params) -> Path:
    """Writes the page and its figures; returns their folder."""
    return build_report(params)
