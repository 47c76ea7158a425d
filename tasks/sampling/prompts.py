"""From problems to token ids: how prompts are rendered for a model, and the set of them that a model is given."""

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


@dataclass(frozen=True)
class PromptSet:
    """Problems as prompts of a model.

    Attributes:
        tokenizer: of the model.
        problems: the problems.
        requests: their prompts, index by index.
    """

    tokenizer: PreTrainedTokenizerBase
    problems: Sequence[Problem]
    requests: Sequence[Request]

    def select(self, indices: Sequence[int]) -> PromptSet:
        """The problems at these indices."""
        return PromptSet(self.tokenizer, [self.problems[i] for i in indices], [self.requests[i] for i in indices])


def render(problem: Problem, tokenizer: PreTrainedTokenizerBase, style: PromptFormat) -> tuple[int, ...]:
    """Returns a prompt's token ids: the chat template with its generation prompt, or the bare text."""
    if style == "plain":
        return tuple(tokenizer.encode("\n".join(text for _, text in problem.messages), add_special_tokens=False))
    messages = [{"role": role, "content": text} for role, text in problem.messages]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=False)
    return tuple(ids)


def render_prompts(
    problems: Sequence[Problem], tokenizer: PreTrainedTokenizerBase, style: PromptFormat, max_prompt_tokens: int | None
) -> PromptSet:
    """Renders problems.

    Raises:
        InputError: a prompt is longer than `max_prompt_tokens`; it is named, never truncated.
    """
    requests = [Request(problem.problem_id, render(problem, tokenizer, style)) for problem in problems]
    for request in requests:
        if max_prompt_tokens is not None and len(request.tokens) > max_prompt_tokens:
            raise InputError(
                f"problem {request.prompt_id}: its prompt has {len(request.tokens)} tokens, "
                f"train.sampling.max_prompt_tokens allows {max_prompt_tokens}"
            )
    return PromptSet(tokenizer, problems, requests)


@dataclass(frozen=True)
class _TokenizerKey:
    """A checkpoint's tokenizer; equal for equal bytes, wherever the files lie."""

    digests: tuple[str, ...]
    checkpoint: Path = field(compare=False)


@dataclass(frozen=True)
class _PromptsKey:
    """What decides the prompts; equal for equal bytes, wherever the files lie."""

    digest: str
    tokenizer: _TokenizerKey
    style: PromptFormat
    max_prompt_tokens: int
    problems: Path = field(compare=False)


def load_tokenizer(checkpoint: Path) -> PreTrainedTokenizerBase:
    """Loads a checkpoint's tokenizer; a process does it once for all checkpoints with the same files."""
    return _load_tokenizer(_tokenizer_key(checkpoint))


def load_prompts(problems: Path, checkpoint: Path, style: PromptFormat, max_prompt_tokens: int) -> PromptSet:
    """Reads and renders a problem set; a process does it once for all models that share a tokenizer.

    Raises:
        InputError: no such set, or a prompt is too long; it is named.
    """
    digest = digest_file(problems) if problems.is_file() else "missing"
    return _load_prompts(_PromptsKey(digest, _tokenizer_key(checkpoint), style, max_prompt_tokens, problems))


def _tokenizer_key(checkpoint: Path) -> _TokenizerKey:
    files = (checkpoint / name for name in TOKENIZER_FILES)
    return _TokenizerKey(tuple(digest_file(file) for file in files if file.is_file()), checkpoint)


@functools.lru_cache(maxsize=8)
def _load_tokenizer(key: _TokenizerKey) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(key.checkpoint, local_files_only=True)
    return tokenizer


@functools.lru_cache(maxsize=32)
def _load_prompts(key: _PromptsKey) -> PromptSet:
    problems = read_problems(key.problems)
    return render_prompts(problems, _load_tokenizer(key.tokenizer), key.style, key.max_prompt_tokens)
