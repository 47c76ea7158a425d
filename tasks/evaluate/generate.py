"""Draws a policy's answers to all its sets in one batch, and grades what has finished while the rest is being drawn."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tasks.evaluate.problem_sets import ProblemSet
from tasks.evaluate.samples import Sample
from tasks.grading import GradeRequest, GradingPool
from tasks.sampling.engines import stream
from tasks.sampling.protocol import Completion, Engine, GenerationBatch

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 512
"""Answers graded at a time: large enough to share equal answers, small enough to overlap with generation."""

Finished = list[tuple[int, list[Completion]]]


@dataclass(frozen=True)
class GradedChunk:
    """Some graded answers of a set: (place of the problem, its samples), and the seconds grading took."""

    rows: list[tuple[int, list[Sample]]]
    seconds: float


@dataclass(frozen=True)
class GeneratedSet:
    """A set's answers, drawn, with their grading under way.

    Attributes:
        problems: the set.
        graded: results to come.
        tokens: completion tokens.
        seconds: wall seconds of generation; a batch shared with other sets is divided by tokens.
    """

    problems: ProblemSet
    graded: list[Future[GradedChunk]]
    tokens: int
    seconds: float


@dataclass(frozen=True)
class Grader:
    """Grades chunks of answers on a thread of its own."""

    pool: GradingPool
    thread: Executor

    def submit(self, entry: ProblemSet, finished: Finished, tokenizer: PreTrainedTokenizerBase) -> Future[GradedChunk]:
        """Queues answers of a set."""
        return self.thread.submit(grade, self.pool, entry, finished, tokenizer)


def generate(
    engine: Engine,
    jobs: Sequence[GenerationBatch],
    sets: Sequence[ProblemSet],
    grader: Grader,
    tokenizer: PreTrainedTokenizerBase,
) -> list[GeneratedSet]:
    """Draws all sets.

    Args:
        engine: holds the policy.
        jobs: the sets' rendered prompts with their settings, in the order of the sets.
        sets: what is asked.
        grader: grades what has finished.
        tokenizer: turns completions into text.

    Raises:
        InputError: a prompt and its completion do not fit the context; it is named.
    """
    waiting: list[Finished] = [[] for _ in sets]
    graded: list[list[Future[GradedChunk]]] = [[] for _ in sets]
    tokens = [0] * len(sets)
    start = time.perf_counter()
    for job, place, completions in stream(engine, jobs):
        tokens[job] += sum(len(completion.tokens) for completion in completions)
        waiting[job].append((place, completions))
        if len(waiting[job]) * sets[job].settings.n >= CHUNK:
            graded[job].append(grader.submit(sets[job], waiting[job], tokenizer))
            waiting[job] = []
    seconds = time.perf_counter() - start
    for job, finished in enumerate(waiting):
        if finished:
            graded[job].append(grader.submit(sets[job], finished, tokenizer))
    whole = max(1, sum(tokens))
    return [GeneratedSet(entry, graded[i], tokens[i], seconds * tokens[i] / whole) for i, entry in enumerate(sets)]


def grade(pool: GradingPool, entry: ProblemSet, finished: Finished, tokenizer: PreTrainedTokenizerBase) -> GradedChunk:
    """Turns completions into graded samples."""
    start = time.perf_counter()
    flat = [list(completion.tokens) for _, completions in finished for completion in completions]
    texts = tokenizer.batch_decode(flat, skip_special_tokens=True)
    owners = [entry.problems[place] for place, completions in finished for _ in completions]
    verdicts = pool.grade(
        [GradeRequest(owner.data_source, text, owner.answer) for owner, text in zip(owners, texts, strict=True)]
    )
    rows: list[tuple[int, list[Sample]]] = []
    index = 0
    for place, completions in finished:
        samples = []
        for number, completion in enumerate(completions):
            verdict, text = verdicts[index], texts[index]
            samples.append(
                Sample(
                    problem_id=entry.problems[place].problem_id,
                    sample=number,
                    text=text,
                    tokens=len(completion.tokens),
                    finish=completion.finish_reason,
                    status=verdict.status,
                    extracted=verdict.extracted,
                    score=verdict.score,
                    reason=verdict.reason,
                )
            )
            index += 1
        rows.append((place, samples))
    return GradedChunk(rows, time.perf_counter() - start)
