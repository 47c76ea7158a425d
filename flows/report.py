"""Flow of the report stage."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from tasks.report.steps import write_report
from tasks.runtime.tracking.publishing import publish_study
from tasks.study.params import load_params


@flow(name="report")
def report(params_file: Path) -> Path:
    """Writes the page a person opens and returns its folder."""
    params = load_params(params_file)
    page = write_report(params)
    publish_study(params)
    return page
