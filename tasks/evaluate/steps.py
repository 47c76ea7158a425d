"""Prefect tasks of the evaluate stage."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.evaluate.launch import EvaluationLauncher
from tasks.evaluate.run import EvaluationRequest, missing
from tasks.records.scores import Score, read_score, write_scores
from tasks.runtime.prefect_options import is_transient, task_options
from tasks.study.errors import InputError
from tasks.study.manifests import canonical_json, digest_text, once
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.policies import benchmark_names, list_policies
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
def evaluate_size(params: Params, size: str, launcher: EvaluationLauncher) -> Path:
    """Initial and final policies of a size on every set, through one engine; what is done is skipped."""
    policies = tuple(policy for policy in list_policies(params) if policy.size == size)
    launcher.run(EvaluationRequest(params, policies, benchmark_names(params)))
    return StudyPaths.of(params).stage("evaluate")


def _scores(arguments: dict[str, Any]) -> tuple[Path, str]:
    params = arguments["params"]
    return StudyPaths.of(params).stage("evaluate"), stage_fingerprint(params, "evaluate")


@task(name="collect_scores", **task_options("evaluate", _scores))
def collect_scores(params: Params) -> Path:
    """`data/evaluate/scores.parquet` from the scores of all policies."""
    return write_all(params)


def write_all(params: Params) -> Path:
    """Writes `data/evaluate/scores.parquet` and the stage's manifest; returns the stage's folder.

    Raises:
        InputError: a policy has no valid score on one of the benchmarks.
    """
    paths = StudyPaths.of(params)
    folder = paths.stage("evaluate")

    def body() -> tuple[list[str], dict[str, Any]]:
        scores = read_all(params)
        write_scores(paths.scores, scores)
        facts = [asdict(score.without_times()) for score in scores]
        return [paths.scores.name], {"pairs": len(scores), "content": digest_text(canonical_json(facts))}

    once(folder, "evaluate", stage_fingerprint(params, "evaluate"), body)
    return folder


def read_all(params: Params) -> list[Score]:
    """Reads the score of every policy on every set, in the order of the grid.

    Raises:
        InputError: one is missing.
    """
    scores, paths = [], StudyPaths.of(params)
    for policy in list_policies(params):
        gaps = missing(params, policy, policy.benchmarks)
        if gaps:
            raise InputError(f"{policy.name} has no score on {', '.join(gaps)}; run `rlscale evaluate` first")
        scores += [read_score(paths.score(policy, name)) for name in policy.benchmarks]
    return scores
