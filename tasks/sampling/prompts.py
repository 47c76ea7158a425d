"""From problems to token ids: how a prompt is rendered for a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tasks.errors import InputError
from tasks.records import Problem
from tasks.sampling.protocol import Request
from tasks.store import digest_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def tokenizer_digests(checkpoint: Path) -> tuple[str, ...]:
    """What decides how a checkpoint's prompts are rendered: equal for checkpoints whose prompts are the same."""
    return tuple(digest_file(checkpoint / name) for name in TOKENIZER_FILES if (checkpoint / name).is_file())


def render(problem: Problem, tokenizer: PreTrainedTokenizerBase, style: Literal["plain", "chat"]) -> tuple[int, ...]:
    """Returns a prompt's token ids: the chat template with its generation prompt, or the bare text."""
    if style == "plain":
        return tuple(tokenizer.encode("\n".join(text for _, text in problem.messages), add_special_tokens=False))
    messages = [{"role": role, "content": text} for role, text in problem.messages]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    return tuple(ids)


def requests(
    problems: Sequence[Problem],
    tokenizer: PreTrainedTokenizerBase,
    style: Literal["plain", "chat"],
    max_prompt_tokens: int,
) -> list[Request]:
    """Renders problems.

    Raises:
        InputError: a prompt is longer than `max_prompt_tokens`; it is named, never truncated.
    """
    out = [Request(problem.problem_id, render(problem, tokenizer, style)) for problem in problems]
    for request in out:
        if len(request.tokens) > max_prompt_tokens:
            raise InputError(
                f"problem {request.prompt_id}: its prompt has {len(request.tokens)} tokens, "
                f"train.sampling.max_prompt_tokens allows {max_prompt_tokens}"
            )
    return out
