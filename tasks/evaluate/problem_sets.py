"""The sets a policy is evaluated on, each with its own sampling settings."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.evaluate.policies import benchmark_names
from tasks.records.problems import Problem, read_problems
from tasks.sampling.protocol import SamplingSettings
from tasks.study.errors import InputError
from tasks.study.params import Params
from tasks.study.paths import StudyPaths


@dataclass(frozen=True)
class ProblemSet:
    """A benchmark, or the held-out set, and how its problems are sampled."""

    name: str
    problems: tuple[Problem, ...]
    settings: SamplingSettings


def load_set(params: Params, name: str) -> ProblemSet:
    """Reads a prepared set.

    Raises:
        InputError: the params file has no such set, or it has not been prepared.
    """
    if name not in benchmark_names(params):
        raise InputError(f"benchmark {name!r} is not in the params file; it has {', '.join(benchmark_names(params))}")
    spec = next((entry for entry in params.prepare.benchmarks if entry.name == name), None)
    evaluate = params.evaluate
    settings = SamplingSettings(
        n=spec.samples if spec else evaluate.heldout_samples,
        temperature=(spec.temperature if spec else None) or evaluate.temperature,
        top_p=(spec.top_p if spec else None) or evaluate.top_p,
        max_tokens=(spec.max_completion_tokens if spec else None) or params.train.sampling.max_completion_tokens,
        seed=evaluate.seed,
        seed_domain="evaluate",
    )
    problems = tuple(read_problems(StudyPaths.of(params).benchmark(name)))
    if not problems:
        raise InputError(f"{StudyPaths.of(params).benchmark(name)}: the set is empty")
    return ProblemSet(name, problems, settings)


def longest_sequence(params: Params, sets: list[ProblemSet]) -> int:
    """Longest prompt plus completion that the sets can ask for, tokens."""
    return params.train.sampling.max_prompt_tokens + max(entry.settings.max_tokens for entry in sets)
