"""Rollouts: sample completions for a step's prompts, grade them, turn rewards into advantages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from tasks.grading import GradeStats, GradingPool
from tasks.sampling.completions import grade_completions
from tasks.sampling.prompts import PromptSet
from tasks.sampling.protocol import Completion, Engine, Request, SamplingSettings
from tasks.study.params import Train
from tasks.train.batching import RolloutGroup
from tasks.train.objective import group_advantages, overlong_penalty


@dataclass(frozen=True)
class GradedCompletions:
    """Completions of some problems with their scores.

    Attributes:
        completions: per problem, n completions.
        scores: per problem, n scores in [0, 1]; answers that cannot be judged score 0.
        right: completions judged right as a whole.
        stats: how the grading went.
    """

    completions: list[list[Completion]]
    scores: list[list[float]]
    right: int
    stats: GradeStats


@dataclass(frozen=True)
class RolloutSampler:
    """An engine, and the pool that grades its completions."""

    engine: Engine
    grader: GradingPool

    def sample(self, prompts: PromptSet, settings: SamplingSettings) -> list[list[Completion]]:
        """Samples completions; none for no prompts."""
        return self.engine.generate(prompts.requests, settings) if prompts.requests else []

    def grade(self, prompts: PromptSet, completions: list[list[Completion]]) -> GradedCompletions:
        """Grades the completions of prompts."""
        graded = grade_completions(prompts, completions, self.grader)
        return GradedCompletions(
            completions=completions,
            scores=[[entry.verdict.score for entry in row] for row in graded],
            right=sum(entry.verdict.correct for row in graded for entry in row),
            stats=self.grader.last_stats,
        )


def rollout_groups(requests: Sequence[Request], graded: GradedCompletions, train: Train) -> list[RolloutGroup]:
    """Joins prompts, completions, rewards and advantages; an overlong penalty enters the advantages alone."""
    if not requests:
        return []
    objective, limit = train.objective, train.sampling.max_completion_tokens
    scores = torch.tensor(graded.scores, dtype=torch.float32)
    if objective.overlong_buffer is not None:
        lengths = torch.tensor([[len(completion.tokens) for completion in row] for row in graded.completions])
        scores = scores + overlong_penalty(lengths, limit, objective.overlong_buffer)
    advantages = group_advantages(scores, objective.advantage_eps, objective.advantage_scale).tolist()
    rows = zip(requests, graded.completions, graded.scores, advantages, strict=True)
    return [
        RolloutGroup(request.prompt_id, request.tokens, tuple(completions), tuple(scores), tuple(advantages))
        for request, completions, scores, advantages in rows
    ]
