"""Arithmetic text to pretrain on: expressions of all training levels with right or deliberately wrong answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from tasks.arithmetic import sample
from tasks.policy.packing import PromptGroup
from tasks.records.problems import Problem, read_problems
from tasks.sampling.prompts import PromptFormat, render
from tasks.study.params import SupervisedStage


def excluded_keys(files: Sequence[Path]) -> frozenset[str]:
    """Keys of problems that must never be pretrained on: the held-out set and the benchmarks."""
    keys = set()
    for file in files:
        for problem in read_problems(file):
            text = problem.messages[-1][1].rstrip("=")
            operator = next(sign for sign in "+-*" if sign in text[1:])
            a, b = sorted(map(int, text.split(operator))) if operator != "-" else map(int, text.split(operator))
            keys.add(f"{a}{operator}{b}")
    return frozenset(keys)


def wrong_answer(answer: str, generator: np.random.Generator) -> str:
    """Returns a near miss: one off in the units or, from two digits on, in the tens (a slipped carry).

    Near misses are few, so that a lower temperature alone does not tell them from the right answer; a reward does.
    """
    value = int(answer)
    slip = 10 if len(answer.lstrip("-")) > 1 and generator.random() < 0.5 else 1
    return str(value + slip if value < slip or generator.random() < 0.5 else value - slip)


def batches(
    recipe: SupervisedStage,
    levels: Sequence[int],
    seed: int,
    excluded: frozenset[str],
    tokenizer: PreTrainedTokenizerBase,
    style: PromptFormat,
) -> Iterator[list[PromptGroup]]:
    """Yields `recipe.steps` batches of (prompt, answer) token groups; equal arguments give equal batches."""
    ids = {name: index for name, index in tokenizer.get_vocab().items() if len(name) == 1}
    head, tail = tokenizer.convert_tokens_to_ids("\\boxed{"), tokenizer.convert_tokens_to_ids("}")
    before, after = prompt_affixes(tokenizer, style)
    generator = np.random.default_rng([seed, 2])
    wrong = generator.random((recipe.steps, recipe.batch)) < recipe.wrong_answers
    wrong[: round(recipe.clean_share * recipe.steps)] = False
    chunk = 100
    for start in range(0, recipe.steps, chunk):
        steps = min(chunk, recipe.steps - start)
        expressions = iter(sample(levels, steps * recipe.batch, seed * 1_000_003 + start, excluded))
        for step in range(start, start + steps):
            groups = []
            for is_wrong in wrong[step]:
                expression = next(expressions)
                answer = wrong_answer(expression.answer, generator) if is_wrong else expression.answer
                prompt = (*before, *(ids[letter] for letter in expression.text), *after)
                boxed = (head, *(ids[letter] for letter in answer), tail, tokenizer.eos_token_id)
                groups.append(PromptGroup(prompt, (boxed,)))
            yield groups


def prompt_affixes(tokenizer: PreTrainedTokenizerBase, style: PromptFormat) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Returns the token ids a prompt style puts before and after a problem's text."""
    probe = "7"
    rendered = render(Problem("probe", "arithmetic", (("user", probe),), ""), tokenizer, style)
    index = rendered.index(tokenizer.convert_tokens_to_ids(probe))
    return rendered[:index], rendered[index + 1 :]
