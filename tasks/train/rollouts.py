"""Rollouts: sample completions for a step's prompts, grade them, turn rewards into advantages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tasks.grading import GradeRequest, GradeStats, GradingPool
from tasks.records.problems import Problem
from tasks.sampling.protocol import Completion, Engine, Request, SamplingSettings
from tasks.train.batching import RolloutGroup
from tasks.train.objective import group_advantages

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


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
    """An engine with what it takes to turn its tokens into verdicts."""

    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    grader: GradingPool

    def sample(self, requests: Sequence[Request], settings: SamplingSettings) -> list[list[Completion]]:
        """Draws completions; none for no requests."""
        return self.engine.generate(requests, settings) if requests else []

    def grade(self, problems: Sequence[Problem], completions: list[list[Completion]]) -> GradedCompletions:
        """Grades completions of problems."""
        texts = self.tokenizer.batch_decode(
            [list(completion.tokens) for row in completions for completion in row], skip_special_tokens=True
        )
        owners = [problem for problem, row in zip(problems, completions, strict=True) for _ in row]
        verdicts = self.grader.grade(
            [
                GradeRequest(problem.data_source, text, problem.answer)
                for problem, text in zip(owners, texts, strict=True)
            ]
        )
        scores = iter([verdict.score for verdict in verdicts])
        rows = [[next(scores) for _ in row] for row in completions]
        right = sum(verdict.correct for verdict in verdicts)
        return GradedCompletions(completions, rows, right, self.grader.last_stats)


def rollout_groups(requests: Sequence[Request], graded: GradedCompletions, eps: float) -> list[RolloutGroup]:
    """Joins prompts, completions, rewards and advantages."""
    if not requests:
        return []
    advantages = group_advantages(torch.tensor(graded.scores, dtype=torch.float32), eps).tolist()
    rows = zip(requests, graded.completions, graded.scores, advantages, strict=True)
    return [
        RolloutGroup(request.prompt_id, request.tokens, tuple(drawn), tuple(scores), tuple(advantage))
        for request, drawn, scores, advantage in rows
    ]
