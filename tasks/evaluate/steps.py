"""Prefect tasks of the evaluate stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.evaluate.collect import write_all
from tasks.evaluate.launch import Launcher
from tasks.evaluate.session import Order
from tasks.evaluate.subjects import benchmark_names, list_subjects
from tasks.layout import Layout
from tasks.orchestration import is_transient, options
from tasks.params import Params
from tasks.state import stage_mark


@task(
    name="evaluate_size",
    task_run_name="evaluate {size}",
    tags=["evaluate"],
    retries=2,
    retry_delay_seconds=[2.0, 4.0],
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
)
def evaluate_size(params: Params, size: str, launcher: Launcher) -> Path:
    """Initial and final policies of a size on every set, through one engine; pairs that are done are skipped."""
    subjects = tuple(subject for subject in list_subjects(params) if subject.size == size)
    launcher.run(Order(params, subjects, tuple(benchmark_names(params))))
    return Layout.of(params).stage("evaluate")


def _scores(given: dict[str, Any]) -> tuple[Path, str]:
    return Layout.of(given["params"]).stage("evaluate"), stage_mark(given["params"], "evaluate")


@task(name="collect_scores", **options("evaluate", _scores))
def collect_scores(params: Params) -> Path:
    """`data/evaluate/scores.parquet` from the pairs of the params' runs."""
    return write_all(params)
