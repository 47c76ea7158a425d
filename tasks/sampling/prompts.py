"""From problems to token ids: how a prompt is rendered for a model."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tasks.records.problems import Problem, read_problems
from tasks.sampling.protocol import Request
from tasks.study.errors import InputError
from tasks.study.manifests import digest_file

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


PromptFormat = Literal["plain", "chat"]
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def render(problem: Problem, tokenizer: PreTrainedTokenizerBase, style: PromptFormat) -> tuple[int, ...]:
    """Returns a prompt's token ids: the chat template with its generation prompt, or the bare text."""
    if style == "plain":
        return tuple(tokenizer.encode("\n".join(text for _, text in problem.messages), add_special_tokens=False))
    messages = [{"role": role, "content": text} for role, text in problem.messages]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    return tuple(ids)


def requests(
    problems: Sequence[Problem],
    tokenizer: PreTrainedTokenizerBase,
    style: PromptFormat,
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


@dataclass(frozen=True)
class PromptSet:
    """A problem set as a model is asked it.

    Attributes:
        tokenizer: of the model.
        problems: the set.
        requests: their prompts, index by index.
    """

    tokenizer: PreTrainedTokenizerBase
    problems: Sequence[Problem]
    requests: Sequence[Request]


def load_prompts(problems: Path, checkpoint: Path, style: PromptFormat, max_prompt_tokens: int) -> PromptSet:
    """Reads and renders a problem set; a process does it once for all models that share a tokenizer.

    Raises:
        InputError: no such set, or a prompt is too long; it is named.
    """
    tokenizer = (checkpoint / name for name in TOKENIZER_FILES)
    digests = tuple(digest_file(file) for file in (problems, *tokenizer) if file.is_file())
    return _rendered(_Rendering(digests, style, max_prompt_tokens, problems, checkpoint))


@dataclass(frozen=True)
class _Rendering:
    """What decides the prompts; equal for equal bytes, wherever the files lie."""

    digests: tuple[str, ...]
    style: PromptFormat
    longest: int
    problems: Path = field(compare=False)
    checkpoint: Path = field(compare=False)


@functools.lru_cache(maxsize=32)
def _rendered(given: _Rendering) -> PromptSet:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(given.checkpoint, local_files_only=True)
    problems = read_problems(given.problems)
    return PromptSet(tokenizer, problems, requests(problems, tokenizer, given.style, given.longest))
