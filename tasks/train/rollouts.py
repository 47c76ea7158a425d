"""Rollouts: sample completions for a step's prompts, grade them, turn rewards into advantages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from tasks.grading import GradeStats, GradingPool
from tasks.sampling.completions import grade_completions
from tasks.sampling.prompts import PromptSet
from tasks.sampling.protocol import Completion, Engine, Request, SamplingSettings
from tasks.train.batching import RolloutGroup
from tasks.train.objective import group_advantages


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
class RolloutSampler:
    """An engine, the pool that grades its completions, and which of a verdict's two scores is the reward."""

    engine: Engine
    grader: GradingPool
    reward: Literal["strict", "lenient"] = "strict"

    def sample(self, prompts: PromptSet, settings: SamplingSettings) -> list[list[Completion]]:
        """Samples completions; none for no prompts."""
        return self.engine.generate(prompts.requests, settings) if prompts.requests else []

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


def rollout_groups(requests: Sequence[Request], graded: GradedCompletions, eps: float) -> list[RolloutGroup]:
    """Joins prompts, completions, rewards and advantages."""
    if not requests:
        return []
    advantages = group_advantages(torch.tensor(graded.rewards, dtype=torch.float32), eps).tolist()
    rows = zip(requests, graded.completions, graded.rewards, advantages, strict=True)
    return [
        RolloutGroup(request.prompt_id, request.tokens, tuple(completions), tuple(rewards), tuple(advantages))
        for request, completions, rewards, advantages in rows
    ]
