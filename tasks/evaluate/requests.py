"""From a command's arguments to requests: one run or all, some benchmarks or all, the study's engine or another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.evaluate.run import EvaluationRequest
from tasks.sampling.engines import ENGINES, require_vllm
from tasks.study.errors import InputError
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.policies import StudyPolicy, benchmark_names, find_benchmark, list_policies

OTHER_ENGINES = "other_engines"
"""Folder below `data/evaluate/` for scores by an engine other than the study's, which they never replace."""


def make_requests(
    params: Params,
    run_id: str | None = None,
    engine: str | None = None,
    benchmarks: Sequence[str] = (),
    server: str | None = None,
) -> list[EvaluationRequest]:
    """Returns one request per model size.

    Args:
        params: the study.
        run_id: a run, the only run whose id starts so, or an initial model; None: everything.
        engine: engine to use instead of `evaluate.engine`.
        benchmarks: names of sets; empty: all.
        server: URL of a running server to use instead of an engine.

    Raises:
        InputError: no such run, benchmark or engine; or the engine is not installed.
    """
    policies = [select_policy(params, run_id)] if run_id else list_policies(params)
    for name in benchmarks:
        find_benchmark(params, name)
    root = None
    if engine is not None and engine not in ENGINES:
        raise InputError(f"engine {engine!r} is not known; expected one of {', '.join(ENGINES)}")
    if server is not None:
        root = other_root(params, "server")
    elif engine is not None and engine != params.evaluate.engine:
        root = other_root(params, engine)
        params = params.model_copy(update={"evaluate": params.evaluate.model_copy(update={"engine": engine})})
    if server is None and params.evaluate.engine == "vllm" and params.hardware.vllm.mode != "server":
        require_vllm()
    names = tuple(benchmarks) or benchmark_names(params)
    return [
        EvaluationRequest(params, tuple(policy for policy in policies if policy.size == size), names, root, server)
        for size in dict.fromkeys(policy.size for policy in policies)
    ]


def other_root(params: Params, name: str) -> Path:
    """Folder of the scores by an engine other than the study's own."""
    return StudyPaths.of(params).stage("evaluate") / OTHER_ENGINES / name


def select_policy(params: Params, name: str) -> StudyPolicy:
    """Returns the policy with this name, or the only one whose name starts so.

    Raises:
        InputError: none, or more than one, matches.
    """
    policies = list_policies(params)
    matches = [p for p in policies if p.name == name] or [p for p in policies if p.name.startswith(name)]
    if len(matches) != 1:
        raise InputError(f"run id {name!r} matches {len(matches)} of {len(policies)} policies; expected one")
    return matches[0]
