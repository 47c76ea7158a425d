"""From completions back to text and verdicts: decode and grade, the same for rewards, scores and pass rates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.grading import GradeRequest, GradingPool, Verdict
from tasks.sampling.prompts import PromptSet
from tasks.sampling.protocol import Completion


@dataclass(frozen=True, slots=True)
class GradedCompletion:
    """A completion, its text without special tokens, and the verdict on it."""

    completion: Completion
    text: str
    verdict: Verdict


def grade_completions(
    prompts: PromptSet, completions: Sequence[Sequence[Completion]], pool: GradingPool
) -> list[list[GradedCompletion]]:
    """Decodes and grades the completions of each prompt, in one call to the pool.

    Args:
        prompts: the problems, and the tokenizer the completions were sampled with.
        completions: per problem, its completions.
        pool: grades them; its `last_stats` then counts these verdicts.
    """
    pairs = [
        (problem, completion) for problem, row in zip(prompts.problems, completions, strict=True) for completion in row
    ]
    tokens = [list(completion.tokens) for _, completion in pairs]
    texts = prompts.tokenizer.batch_decode(tokens, skip_special_tokens=True)
    verdicts = pool.grade(
        [
            GradeRequest(problem.data_source, text, problem.answer)
            for (problem, _), text in zip(pairs, texts, strict=True)
        ]
    )
    graded = iter(zip(texts, verdicts, strict=True))
    return [[GradedCompletion(completion, *next(graded)) for completion in row] for row in completions]
