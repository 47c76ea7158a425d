"""Prefect tasks of the evaluate stage."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.evaluate.launch import Launcher
from tasks.evaluate.policies import benchmark_names, list_policies, missing, score_folder
from tasks.evaluate.run import EvaluationRequest
from tasks.records.scores import Score, write_scores
from tasks.runtime.prefect_options import is_transient, task_options
from tasks.study.errors import InputError
from tasks.study.manifests import canonical_json, digest_text, once
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.status import stage_fingerprint


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
    subjects = tuple(subject for subject in list_policies(params) if subject.size == size)
    launcher.run(EvaluationRequest(params, subjects, tuple(benchmark_names(params))))
    return StudyPaths.of(params).stage("evaluate")


def _scores(given: dict[str, Any]) -> tuple[Path, str]:
    return StudyPaths.of(given["params"]).stage("evaluate"), stage_fingerprint(given["params"], "evaluate")


@task(name="collect_scores", **task_options("evaluate", _scores))
def collect_scores(params: Params) -> Path:
    """`data/evaluate/scores.parquet` from the pairs of the params' runs."""
    return write_all(params)


def write_all(params: Params) -> Path:
    """Writes `data/evaluate/scores.parquet` and the stage's manifest; returns the stage's folder.

    Raises:
        InputError: a run has no valid score on one of the benchmarks.
    """
    layout = StudyPaths.of(params)
    folder = layout.stage("evaluate")

    def body() -> tuple[list[str], dict[str, Any]]:
        scores = read_all(params)
        write_scores(layout.scores, scores)
        facts = [asdict(dataclasses.replace(score, seconds=0.0, tokens_per_second=0.0)) for score in scores]
        return [layout.scores.name], {"pairs": len(scores), "content": digest_text(canonical_json(facts))}

    once(folder, "evaluate", stage_fingerprint(params, "evaluate"), body)
    return folder


def read_all(params: Params) -> list[Score]:
    """Reads every pair's score, in the order of the grid.

    Raises:
        InputError: one is missing.
    """
    names = benchmark_names(params)
    scores = []
    for subject in list_policies(params):
        gaps = missing(params, subject, names)
        if gaps:
            raise InputError(f"{subject.name} has no score on {', '.join(gaps)}; run `rlscale evaluate` first")
        scores += [read_score(score_folder(params, subject, name)) for name in names]
    return scores


def read_score(folder: Path) -> Score:
    """Reads the score of one pair."""
    return Score(**json.loads((folder / "score.json").read_text(encoding="utf-8")))
