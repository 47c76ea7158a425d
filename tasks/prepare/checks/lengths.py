"""Prompt lengths in tokens of the chosen tokenizer, chat template included."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tasks.records.problems import Problem
from tasks.study.errors import InputError
from tasks.study.params import Params


class PromptLengthChecker:
    """Measures prompts.

    The chat template's tokens are measured once, on a short message, and added to every prompt; exact to a token or
    two at the seams. A text of b bytes has at most b tokens, so most prompts pass without being tokenized.
    """

    def __init__(self, tokenizer: str, revision: str | None, limit: int) -> None:
        """Loads a tokenizer.

        Args:
            tokenizer: a local folder or a hub model.
            revision: the hub commit.
            limit: longest prompt allowed, tokens.

        Raises:
            InputError: there is no such tokenizer, or it cannot be downloaded.
        """
        from transformers import AutoTokenizer

        self.limit = limit
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(tokenizer, revision=revision)
        except (OSError, ValueError) as error:
            raise InputError(
                f"prepare.tokenizer: {tokenizer} cannot be loaded ({str(error).splitlines()[0]}); download its "
                "tokenizer files and name their folder, or set null to leave prompt lengths unchecked"
            ) from None
        self._overhead = self._template_tokens()

    @classmethod
    def of(cls, params: Params) -> PromptLengthChecker | None:
        """The study's checker; None where it names no tokenizer."""
        spec = params.prepare
        if spec.tokenizer is None:
            return None
        return cls(spec.tokenizer, spec.tokenizer_revision, params.train.sampling.max_prompt_tokens)

    def tokens(self, problems: Sequence[Problem]) -> NDArray[np.int64]:
        """Prompt lengths, tokens, shape (problems,)."""
        texts = ["\n".join(text for _, text in problem.messages) for problem in problems]
        if not texts:
            return np.empty(0, dtype=np.int64)
        encoded = self._tokenizer(texts, add_special_tokens=False)["input_ids"]
        return np.asarray([len(ids) + self._overhead for ids in encoded], dtype=np.int64)

    def too_long(self, problems: Sequence[Problem]) -> dict[int, str]:
        """Reason by index, for prompts over the limit."""
        unsure = [
            index
            for index, problem in enumerate(problems)
            if sum(len(text.encode()) + 1 for _, text in problem.messages) + self._overhead > self.limit
        ]
        lengths = self.tokens([problems[index] for index in unsure]).tolist()
        pairs = zip(unsure, lengths, strict=True)
        return {index: f"{length} tokens, {self.limit} allowed" for index, length in pairs if length > self.limit}

    def _template_tokens(self) -> int:
        if not self._tokenizer.chat_template:
            return 0
        message = [{"role": "user", "content": "1"}]
        whole = self._tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
        return len(whole) - len(self._tokenizer.encode("1", add_special_tokens=False))
