"""A log-probability probe: does an engine compute with the weights it was given?

A digest shows what was sent to the engine; the probe shows what it computes. Fixed tokens are scored by the engine.
For a small model the same tokens are scored by the transformers library with the same weights, and the two must
agree. For a large one, whose copy is not kept here, the score must change when the weights do and must not otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

LENGTH = 24
MAX_PROBED_PARAMS = 50_000_000
"""Weights, up to which the probe is computed a second time."""
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.2}


class ProbeFailed(RuntimeError):
    """The engine computes something else than its weights say."""


class LogprobProbe:
    """The probe of one architecture.

    Attributes:
        tokens: what is scored, all but the first.
    """

    def __init__(self, config: Mapping[str, Any], context: int, dtype: torch.dtype) -> None:
        """Chooses the tokens: a fixed walk through the vocabulary."""
        length, vocabulary = min(LENGTH, context - 1), int(config["vocab_size"])
        self.tokens = tuple((7919 * index + 3) % vocabulary for index in range(length))
        self._config = dict(config)
        self._dtype = dtype
        self._model: torch.nn.Module | None = None
        self._last: tuple[str, list[float]] | None = None

    def check(self, scored: list[float], weights: Mapping[str, torch.Tensor] | None, fingerprint: str) -> None:
        """Compares what the engine scored with what its weights give.

        Args:
            scored: the engine's log-probabilities of `tokens[1:]`, nats.
            weights: its state dict, on any device; None where there is no copy of it here.
            fingerprint: fingerprint of the weights.

        Raises:
            ProbeFailed: they do not agree.
        """
        last, self._last = self._last, (fingerprint, scored)
        if weights is not None and sum(tensor.numel() for tensor in weights.values()) <= MAX_PROBED_PARAMS:
            expected = self._expected(weights)
            gap = max(abs(a - b) for a, b in zip(scored, expected, strict=True))
            if not gap <= TOLERANCE[self._dtype]:
                raise ProbeFailed(f"the engine's log-probs differ by {gap:.2e} from those of the weights it was given")
        elif last is not None and (last[1] == scored) != (last[0] == fingerprint):
            change = "the same" if last[1] == scored else "other"
            raise ProbeFailed(
                f"weights went from {last[0]} to {fingerprint}, but the engine computes {change} log-probs"
            )

    @torch.inference_mode()
    def _expected(self, weights: Mapping[str, torch.Tensor]) -> list[float]:
        if self._model is None:
            from transformers import AutoConfig, AutoModelForCausalLM

            config = AutoConfig.for_model(**self._config)
            with torch.random.fork_rng():
                model = AutoModelForCausalLM.from_config(config, dtype=self._dtype, attn_implementation="eager")
            self._model = model.eval()
        tokens = torch.tensor([self.tokens])
        tensors = {name: tensor.to("cpu") for name, tensor in weights.items()}
        output: Any = torch.func.functional_call(self._model, tensors, (tokens,), tie_weights=False)
        logprobs = output.logits[0].float().log_softmax(-1)
        return logprobs[:-1].gather(1, tokens[0, 1:, None])[:, 0].tolist()
