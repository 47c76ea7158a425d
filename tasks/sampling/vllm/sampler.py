"""Samples vLLM's tokens with the program's own randomness, so that both engines sample the same completions.

vLLM gives each seeded request a generator of its own, a stream. Here a token's uniform is the hash of (seed, domain,
step, prompt, sample, position) as everywhere in this program (`tasks.sampling.seeds`), turned into a token by the
inverse of the cumulative distribution; all of a step's rows at once. The logits processor leaves the sampled token as
the only possible one and the request itself is greedy. Log-probabilities are unaffected: vLLM takes them from the raw
logits, before any processor.

For vLLM's first model runner (CPU; GPUs without Triton). On GPUs the second runner hashes (seed, position) itself and
requests carry a plain seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from vllm.v1.sample.logits_processor import LogitsProcessor
from vllm.v1.sample.logits_processor.builtin import process_dict_updates

from tasks.sampling.seeds import uniforms
from tasks.sampling.transformers_engine import inverse_cdf
from tasks.sampling.vllm.options import KEY, TEMPERATURE, TOP_P

if TYPE_CHECKING:
    from vllm import SamplingParams
    from vllm.config import VllmConfig
    from vllm.v1.sample.logits_processor import BatchUpdate


@dataclass(frozen=True)
class _Row:
    """A request's key and settings, and its growing list of tokens."""

    key: int
    temperature: float
    top_p: float
    tokens: list[int]


class CounterBasedSampler(LogitsProcessor):
    """Replaces the logits of requests that carry a key by the token that their key gives."""

    def __init__(self, vllm_config: VllmConfig, device: torch.device, is_pin_memory: bool) -> None:
        """Starts with an empty batch; the signature is vLLM's."""
        self._rows: dict[int, _Row] = {}
        self._device = device

    def is_argmax_invariant(self) -> bool:
        """The sampled token need not be the most likely one."""
        return False

    def update_state(self, batch_update: BatchUpdate | None) -> None:
        """Follows requests that enter, leave or move within the batch."""
        process_dict_updates(self._rows, batch_update, _new_row)

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """Samples a token for every row with a key."""
        settings: dict[tuple[float, float], list[int]] = {}
        for number, row in self._rows.items():
            settings.setdefault((row.temperature, row.top_p), []).append(number)
        for (temperature, top_p), numbers in settings.items():
            rows = [self._rows[number] for number in numbers]
            index = torch.tensor(numbers, device=self._device)
            keys = torch.tensor([row.key for row in rows], device=self._device)
            positions = torch.tensor([len(row.tokens) for row in rows], device=self._device)
            tokens = inverse_cdf(logits[index], temperature, top_p, uniforms(keys, positions))
            logits[index] = -torch.inf
            logits[index, tokens] = 0.0
        return logits


def _new_row(params: SamplingParams, _prompt: list[int] | None, tokens: list[int]) -> _Row | None:
    extra: dict[str, Any] = params.extra_args or {}
    if KEY not in extra:
        return None
    return _Row(extra[KEY], extra[TEMPERATURE], extra[TOP_P], tokens)
