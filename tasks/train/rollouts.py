"""Rollouts: sample completions for a step's prompts, grade them, turn rewards into advantages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from tasks.grading import GradeStats, GradingPool
from tasks.sampling.completions import grade_completions
from tasks.sampling.engines import stream
from tasks.sampling.prompts import PromptSet
from tasks.sampling.protocol import (
    Completion,
    Engine,
    GenerationBatch,
    Request,
    SamplingSettings,
    StreamingEngine,
)
from tasks.study.params import Train
from tasks.train.batching import RolloutGroup
from tasks.train.objective import group_advantages, overlong_penalty


@dataclass(frozen=True)
class GradedCompletions:
    """Completions of some problems with their rewards.

    Attributes:
        completions: per problem, n completions.
        rewards: per problem, n rewards in [0, 1]; answers that cannot be judged get 0.
        right: completions right as a whole and in their form (strict).
        right_lenient: completions whose final answer is right, wherever it stands.
        stats: how the grading went.
    """

    completions: list[list[Completion]]
    rewards: list[list[float]]
    right: int
    right_lenient: int
    stats: GradeStats


@dataclass(frozen=True)
class Sampled:
    """Completions, per problem n, and the seconds they took."""

    completions: list[list[Completion]]
    seconds: float


@dataclass(frozen=True)
class RolloutSampler:
    """An engine, and the pool that grades its completions.

    Attributes:
        engine: samples.
        grader: grades.
        reward: which of a verdict's two scores is the reward.
        ahead: what was sampled before it was asked for, by its settings.
    """

    engine: Engine
    grader: GradingPool
    reward: Literal["strict", "lenient"] = "strict"
    ahead: dict[SamplingSettings, Sampled] = field(default_factory=dict)

    @property
    def samples_ahead(self) -> bool:
        """Whether sampling two batches together takes less time than one after the other."""
        return isinstance(self.engine, StreamingEngine)

    def sample(self, prompts: PromptSet, settings: SamplingSettings) -> Sampled:
        """Completions of prompts; those that were sampled ahead are taken from there, once."""
        if settings in self.ahead:
            return self.ahead.pop(settings)
        start = time.perf_counter()
        completions = self.engine.generate(prompts.requests, settings)
        return Sampled(completions, time.perf_counter() - start)

    def sample_with_next(
        self, now: tuple[PromptSet, SamplingSettings], then: tuple[PromptSet, SamplingSettings]
    ) -> Sampled:
        """Samples two batches together and keeps the second for a later `sample`; both with the weights of now.

        A token's seed does not depend on the batch, so neither do completions. The seconds are shared out by tokens.
        """
        start = time.perf_counter()
        drawn: list[list[list[Completion]]] = [[[] for _ in prompts.requests] for prompts, _ in (now, then)]
        batches = [GenerationBatch(prompts.requests, settings) for prompts, settings in (now, then)]
        for batch, request, completions in stream(self.engine, batches):
            drawn[batch][request] = completions
        tokens = [sum(len(c.tokens) for row in rows for c in row) for rows in drawn]
        seconds = (time.perf_counter() - start) / max(sum(tokens), 1)
        self.ahead[then[1]] = Sampled(drawn[1], seconds * tokens[1])
        return Sampled(drawn[0], seconds * tokens[0])

    def grade(self, prompts: PromptSet, completions: list[list[Completion]]) -> GradedCompletions:
        """Grades the completions of prompts."""
        graded = grade_completions(prompts, completions, self.grader)
        verdicts = [[entry.verdict for entry in row] for row in graded]
        return GradedCompletions(
            completions=completions,
            rewards=[[each.lenient if self.reward == "lenient" else each.strict for each in row] for row in verdicts],
            right=sum(each.strictly_correct for row in verdicts for each in row),
            right_lenient=sum(each.correct for row in verdicts for each in row),
            stats=self.grader.last_stats,
        )


def rollout_groups(requests: Sequence[Request], graded: GradedCompletions, train: Train) -> list[RolloutGroup]:
    """Joins prompts, completions, rewards and advantages; an overlong penalty enters the advantages alone."""
    if not requests:
        return []
    objective, limit = train.objective, train.sampling.max_completion_tokens
    scores = torch.tensor(graded.rewards, dtype=torch.float32)
    if objective.overlong_buffer is not None:
        lengths = torch.tensor([[len(completion.tokens) for completion in row] for row in graded.completions])
        scores = scores + overlong_penalty(lengths, limit, objective.overlong_buffer)
    advantages = group_advantages(scores, objective.advantage_eps, objective.advantage_scale).tolist()
    rows = zip(requests, graded.completions, graded.rewards, advantages, strict=True)
    return [
        RolloutGroup(request.prompt_id, request.tokens, tuple(completions), tuple(rewards), tuple(advantages))
        for request, completions, rewards, advantages in rows
    ]
