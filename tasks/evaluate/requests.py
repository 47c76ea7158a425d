"""From what a person asks for to orders: one run or all, some benchmarks or all, the study's engine or another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.evaluate.policies import Policy, benchmark_names, list_policies
from tasks.evaluate.run import EvaluationRequest
from tasks.sampling.engines import ENGINES, require_vllm
from tasks.study.errors import InputError
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

OTHER_ENGINES = "other_engines"
"""Folder below `data/evaluate/` for scores by an engine other than the study's, which they never replace."""


def make_requests(
    params: Params,
    run_id: str | None = None,
    engine: str | None = None,
    benchmarks: Sequence[str] = (),
    server: str | None = None,
) -> list[EvaluationRequest]:
    """Returns one order per model size.

    Args:
        params: the study.
        run_id: a run, the only run whose id starts so, or `initial-<model>`; None: everything.
        engine: engine to use instead of `evaluate.engine`.
        benchmarks: names of sets; empty: all.
        server: URL of a running server to use instead of an engine.

    Raises:
        InputError: no such run, benchmark or engine; or the engine is not installed.
    """
    chosen = [select_policy(params, run_id)] if run_id else list_policies(params)
    known = benchmark_names(params)
    for name in benchmarks:
        if name not in known:
            raise InputError(f"benchmark {name!r} is not in the params file; it has {', '.join(known)}")
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
    sizes = dict.fromkeys(subject.size for subject in chosen)
    return [
        EvaluationRequest(params, tuple(s for s in chosen if s.size == size), tuple(benchmarks or known), root, server)
        for size in sizes
    ]


def other_root(params: Params, name: str) -> Path:
    """Folder of the scores by an engine other than the study's own."""
    return StudyPaths.of(params).stage("evaluate") / OTHER_ENGINES / name


def select_policy(params: Params, name: str) -> Policy:
    """Returns the policy with this name, or the only one whose name starts so.

    Raises:
        InputError: none, or more than one, matches.
    """
    subjects = list_policies(params)
    matches = [s for s in subjects if s.name == name] or [s for s in subjects if s.name.startswith(name)]
    if len(matches) != 1:
        raise InputError(f"run id {name!r} matches {len(matches)} of {len(subjects)} policies; expected one")
    return matches[0]
