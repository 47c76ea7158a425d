"""A log-probability probe: does an engine compute with the weights it was given?

A digest shows what was sent to the engine; the probe shows what it computes. Fixed tokens are scored by the engine.
For a small model the same tokens are scored by the transformers library with the same weights, and the two must
agree. For a large one, whose copy is not kept here, the score must not change unless the weights do; a score that stays
when they change is only warned of: a step of 1e-6 in bfloat16 may change no log-probability of so few tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import torch

logger = logging.getLogger(__name__)

LENGTH = 24
MAX_PROBED_PARAMS = 50_000_000
"""Weights, up to which the probe is computed a second time."""
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.2}
"""Largest difference between vLLM and the transformers library, nats, by precision."""
TOLERANCE_EQUAL = 1e-2
"""Largest difference between two forward passes of one engine with equal weights, nats. A GPU's kernels may add in
another order when the batch or the cache lies elsewhere."""


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
            weights: the state dict of a small model, on any device; None where it is large or no copy of it is here.
            fingerprint: fingerprint of the weights.

        Raises:
            ProbeFailed: they do not agree.
        """
        last, self._last = self._last, (fingerprint, scored)
        if weights is not None:
            expected = self._expected(weights)
            gap = _largest_gap(scored, expected)
            if not gap <= TOLERANCE[self._dtype]:
                raise ProbeFailed(f"the engine's log-probs differ by {gap:.2e} from those of the weights it was given")
        elif last is not None and last[0] == fingerprint:
            gap = _largest_gap(scored, last[1])
            if not gap <= TOLERANCE_EQUAL:
                raise ProbeFailed(f"weights {fingerprint} came again, but the engine's log-probs differ by {gap:.2e}")
        elif last is not None and last[1] == scored:
            logger.warning(
                "weights went from %s to %s, but the engine computes the same log-probs", last[0], fingerprint
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


def _largest_gap(one: list[float], other: list[float]) -> float:
    """The largest absolute difference, NaN where any number is."""
    return float((torch.tensor(one, dtype=torch.float64) - torch.tensor(other, dtype=torch.float64)).abs().max())
