"""The engine in the trainer's own process: PyTorch on transformers checkpoints, exact and dependency-free.

It has the trainer's numerics (same weights, float32 softmax), so its log-probabilities serve as the old
log-probabilities of the update. Each prompt is encoded once and its cache repeated for the n completions; finished
sequences leave the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from tasks.policy.kv_cache import KVCache
from tasks.policy.model_decoder import ModelDecoder, context_limit
from tasks.policy.policy_model import load_model, weights_digest
from tasks.policy.qwen2_decoder import Qwen2Decoder, decodes
from tasks.sampling.protocol import Completion, Engine, Request, SamplingSettings
from tasks.sampling.seeds import sequence_key, uniforms
from tasks.study.errors import InputError

COMPACT_BELOW = 0.75
"""Finished sequences leave once less than this fraction of the batch is still being decoded."""


SYNC_EVERY = 16
"""On an accelerator, tokens between two looks at what has finished: each waits for the device."""


class TransformersEngine(Engine):
    """Samples from a model held in this process: plain Qwen2 by fused products, other families by their own modules."""

    name = "transformers"

    def __init__(self, checkpoint: Path, batch: int = 1024, device: str = "cpu", precision: str = "float32") -> None:
        """Loads a checkpoint.

        Args:
            checkpoint: folder of a transformers checkpoint.
            batch: sequences decoded together at most.
            device: torch device.
            precision: float32 or bfloat16.

        Raises:
            InputError: no checkpoint there.
        """
        self.batch = batch
        self.device = torch.device(device)
        self.precision = precision
        self.sync_every = 1 if self.device.type == "cpu" else SYNC_EVERY
        self.load(checkpoint)

    def load(self, checkpoint: Path) -> str:
        """Replaces the weights by a checkpoint's."""
        model: Any = load_model(checkpoint, "bfloat16" if self.precision == "bfloat16" else "float32")
        model.to(self.device)
        self.config = model.config
        eos = model.generation_config.eos_token_id if model.generation_config else model.config.eos_token_id
        self.stops = frozenset(eos if isinstance(eos, list) else [eos])
        self.module = None if decodes(model.config) else ModelDecoder(model)
        return self.update(model.state_dict().items())

    def update(self, weights: Iterable[tuple[str, torch.Tensor]]) -> str:
        """Replaces the weights by these named tensors (a whole state dict); returns the fingerprint.

        The decoder keeps references where it need not fuse: the caller updates again after each optimiser step.
        """
        tensors = dict(weights)
        if self.module is not None:
            self.module.update(tensors)
        self.decoder: Qwen2Decoder | ModelDecoder = self.module or Qwen2Decoder(self.config, tensors)
        self._fingerprint = weights_digest(tensors)
        return self._fingerprint

    def fingerprint(self) -> str:
        """Digest of the current weights."""
        return self._fingerprint

    def close(self) -> None:
        """Nothing to stop: the weights go with the object."""

    @torch.inference_mode()
    def generate(self, requests: Sequence[Request], settings: SamplingSettings) -> list[list[Completion]]:
        """Completes each request n times; see `tasks.sampling.protocol.Engine`."""
        limit = context_limit(self.config)
        for request in requests:
            if len(request.tokens) + settings.max_tokens > limit:
                raise InputError(
                    f"problem {request.prompt_id}: {len(request.tokens)} prompt tokens and {settings.max_tokens} "
                    f"completion tokens do not fit the model's context of {limit}"
                )
        chunk = max(1, self.batch // settings.n)
        completions: list[list[Completion]] = []
        for start in range(0, len(requests), chunk):
            completions.extend(self._generate(requests[start : start + chunk], settings))
        return completions

    def _generate(self, requests: Sequence[Request], settings: SamplingSettings) -> list[list[Completion]]:
        logits, cache, padding, column = self._encode(requests, settings)
        n, total = settings.n, len(requests) * settings.n
        keys = [sequence_key(settings, request.prompt_id, sample) for request in requests for sample in range(n)]
        state = _Batch(total, settings.max_tokens, torch.tensor(keys, device=self.device), self.stops)
        for position in range(settings.max_tokens):
            tokens = state.sample(logits, settings, position)
            keep = state.drop_finished(tokens, sync=(position + 1) % self.sync_every == 0)
            if position + 1 == settings.max_tokens or state.active.numel() == 0:
                break
            if keep is not None:
                cache.select(keep)
                tokens, padding = tokens[keep], padding[keep]
            logits = self.decoder.step(tokens, padding, column + position, cache)
        completions = state.completions()
        return [completions[start : start + n] for start in range(0, total, n)]

    def _encode(
        self, requests: Sequence[Request], settings: SamplingSettings
    ) -> tuple[torch.Tensor, KVCache, torch.Tensor, int]:
        """Encodes each prompt once and repeats it for its n completions."""
        width = max(len(request.tokens) for request in requests)
        rows = [[0] * (width - len(request.tokens)) + list(request.tokens) for request in requests]
        tokens = torch.tensor(rows, device=self.device)
        padding = torch.tensor([width - len(request.tokens) for request in requests], device=self.device)
        cache = self.decoder.new_cache(len(requests), width + settings.max_tokens)
        logits = self.decoder.prefill(tokens, padding, cache)
        if settings.n > 1:
            repeat = torch.arange(len(requests), device=self.device).repeat_interleave(settings.n)
            cache.select(repeat)
            logits, padding = logits[repeat], padding[repeat]
        return logits, cache, padding, width


class _Batch:
    """The sequences being decoded: their tokens so far, and which rows are still active."""

    def __init__(self, total: int, max_tokens: int, keys: torch.Tensor, stops: frozenset[int]) -> None:
        self.tokens = torch.zeros(total, max_tokens, dtype=torch.int64, device=keys.device)
        self.logprobs = torch.zeros(total, max_tokens, dtype=torch.float32, device=keys.device)
        self.lengths = torch.zeros(total, dtype=torch.int64, device=keys.device)
        self.stopped = torch.zeros(total, dtype=torch.bool, device=keys.device)
        self.active = torch.arange(total, device=keys.device)
        self.keys = keys
        self.stops = torch.tensor(sorted(stops), device=keys.device)

    def sample(self, logits: torch.Tensor, settings: SamplingSettings, position: int) -> torch.Tensor:
        """Samples a token for each active row and records it."""
        logprobs = logits.log_softmax(-1)
        if settings.temperature == 0.0:
            tokens = logprobs.argmax(-1)
        else:
            tokens = inverse_cdf(logits, settings.temperature, settings.top_p, uniforms(self.keys, position))
        running = ~self.stopped[self.active]
        self.tokens[self.active, position] = tokens * running
        self.logprobs[self.active, position] = logprobs.gather(1, tokens[:, None])[:, 0] * running
        self.lengths[self.active] += running
        return tokens

    def drop_finished(self, tokens: torch.Tensor, sync: bool) -> torch.Tensor | None:
        """Marks rows that end with a stop token; returns the rows to keep when enough have finished, else None.

        Args:
            tokens: of the active rows.
            sync: whether to count the finished now, which waits for the device.
        """
        self.stopped[self.active] |= torch.isin(tokens, self.stops)
        if not sync:
            return None
        running = ~self.stopped[self.active]
        if int(running.sum()) > COMPACT_BELOW * running.numel():
            return None
        keep = running.nonzero()[:, 0]
        self.active, self.keys = self.active[keep], self.keys[keep]
        return keep

    def completions(self) -> list[Completion]:
        """The finished completions, in order."""
        columns = zip(
            self.tokens.tolist(), self.logprobs.tolist(), self.lengths.tolist(), self.stopped.tolist(), strict=True
        )
        return [
            Completion(tuple(tokens[:size]), tuple(logprobs[:size]), "stop" if stopped else "length")
            for tokens, logprobs, size, stopped in columns
        ]


def inverse_cdf(logits: torch.Tensor, temperature: float, top_p: float, uniform: torch.Tensor) -> torch.Tensor:
    """Samples from softmax(logits / temperature), cut to its nucleus, by the inverse of the cumulative distribution."""
    probs = (logits / temperature).softmax(-1)
    if top_p < 1.0:
        ordered, index = probs.sort(dim=-1, descending=True, stable=True)
        beyond_nucleus = ordered.cumsum(-1) - ordered >= top_p
        probs = probs.scatter(-1, index, ordered.masked_fill(beyond_nucleus, 0.0))
    cdf = probs.double().cumsum(-1)
    tokens = torch.searchsorted(cdf, (uniform * cdf[:, -1])[:, None], right=True)[:, 0]
    return tokens.clamp_(max=logits.shape[-1] - 1)
