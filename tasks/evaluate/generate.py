"""Samples a policy's completions on all its sets in one batch; what has finished is graded meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

from tasks.grading import GradingPool
from tasks.records.samples import Sample
from tasks.sampling.completions import GradedCompletion, grade_completions
from tasks.sampling.engines import stream
from tasks.sampling.prompts import PromptSet, load_prompts
from tasks.sampling.protocol import Completion, Engine, GenerationBatch, SamplingSettings
from tasks.study.errors import InputError
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.policies import StudyPolicy, find_benchmark

CHUNK = 512
"""Completions graded at a time: enough to share equal answers, few enough to overlap with generation."""

Finished = list[tuple[int, list[Completion]]]
"""Indices of problems within their set, with their completions."""


@dataclass(frozen=True)
class EvaluationSet:
    """A benchmark, or the held-out set, as prompts of a policy, and how they are sampled."""

    name: str
    prompts: PromptSet
    settings: SamplingSettings


def sampling_settings(params: Params, name: str) -> SamplingSettings:
    """How a set is sampled.

    Raises:
        InputError: the params file has no such set.
    """
    spec, evaluate = find_benchmark(params, name), params.evaluate
    return SamplingSettings(
        n=spec.samples if spec else evaluate.heldout_samples,
        temperature=(spec.temperature if spec else None) or evaluate.temperature,
        top_p=(spec.top_p if spec else None) or evaluate.top_p,
        max_tokens=(spec.max_completion_tokens if spec else None) or params.train.sampling.max_completion_tokens,
        seed=evaluate.seed,
        seed_domain="evaluate",
    )


def load_set(params: Params, policy: StudyPolicy, checkpoint: Path, name: str) -> EvaluationSet:
    """Reads a prepared set and renders it for a policy.

    Raises:
        InputError: there is no such set, it is empty, or a prompt is too long; it is named.
    """
    settings, path = sampling_settings(params, name), StudyPaths.of(params).benchmark(name)
    style = getattr(params.train.prompt_style, policy.variant)
    prompts = load_prompts(path, checkpoint, style, params.train.sampling.max_prompt_tokens)
    if not prompts.problems:
        raise InputError(f"{path}: the set is empty")
    return EvaluationSet(name, prompts, settings)


@dataclass(frozen=True)
class GradedChunk:
    """Some graded completions of a set: (index of the problem, its samples), and the seconds grading took."""

    rows: list[tuple[int, list[Sample]]]
    seconds: float


@dataclass(frozen=True)
class GeneratedSet:
    """A set's completions, with their grading under way.

    Attributes:
        name: of the set.
        graded: results to come.
        tokens: completion tokens.
        seconds: wall seconds of generation; a batch shared with other sets is divided by tokens.
    """

    name: str
    graded: list[Future[GradedChunk]]
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Grader:
    """Grades chunks of completions on a thread of its own."""

    pool: GradingPool
    thread: Executor

    def submit(self, entry: EvaluationSet, finished: Finished) -> Future[GradedChunk]:
        """Queues completions of a set."""
        return self.thread.submit(grade, self.pool, entry, finished)


def generate(engine: Engine, sets: Sequence[EvaluationSet], grader: Grader) -> list[GeneratedSet]:
    """Samples all sets.

    Args:
        engine: holds the policy.
        sets: prompts and settings.
        grader: grades what has finished.

    Raises:
        InputError: a prompt and its completion do not fit the context; it is named.
    """
    waiting: list[Finished] = [[] for _ in sets]
    graded: list[list[Future[GradedChunk]]] = [[] for _ in sets]
    tokens = [0] * len(sets)
    start = time.perf_counter()
    for number, index, completions in stream(engine, [GenerationBatch(s.prompts.requests, s.settings) for s in sets]):
        tokens[number] += sum(len(completion.tokens) for completion in completions)
        waiting[number].append((index, completions))
        if len(waiting[number]) * sets[number].settings.n >= CHUNK:
            graded[number].append(grader.submit(sets[number], waiting[number]))
            waiting[number] = []
    seconds = time.perf_counter() - start
    for number, finished in enumerate(waiting):
        if finished:
            graded[number].append(grader.submit(sets[number], finished))
    total = max(1, sum(tokens))
    return [GeneratedSet(s.name, graded[i], tokens[i], seconds * tokens[i] / total) for i, s in enumerate(sets)]


def grade(pool: GradingPool, entry: EvaluationSet, finished: Finished) -> GradedChunk:
    """Turns completions into graded samples."""
    start = time.perf_counter()
    prompts = entry.prompts.select([index for index, _ in finished])
    graded = grade_completions(prompts, [completions for _, completions in finished], pool)
    rows = [
        (index, [_sample(problem.problem_id, number, one) for number, one in enumerate(row)])
        for (index, _), problem, row in zip(finished, prompts.problems, graded, strict=True)
    ]
    return GradedChunk(rows, time.perf_counter() - start)


def _sample(problem_id: str, number: int, graded: GradedCompletion) -> Sample:
    return Sample(
        problem_id=problem_id,
        sample=number,
        text=graded.text,
        tokens=len(graded.completion.tokens),
        finish=graded.completion.finish_reason,
        status=graded.verdict.status,
        extracted=graded.verdict.extracted,
        score=graded.verdict.strict,
        reason=graded.verdict.reason,
        lenient=graded.verdict.lenient,
    )
