"""Decoding any family that transformers computes, by the model's own modules and a preallocated key-value cache.

Slower than the fused decoder at small widths, where Python's overhead per module is most of the cost, and without
anything of ours in the numbers: masks and positions are handed in, the layers write their keys and values into
`KVCache`. Windows of attention are not covered; `context_limit` ends before one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import Cache, PreTrainedModel

from tasks.policy.kv_cache import KVCache, prefill_mask, step_mask


class ModelDecoder:
    """The forward pass of a transformers model for sampling."""

    def __init__(self, model: PreTrainedModel) -> None:
        """Takes over a model, whose weights `update` replaces."""
        self.model: Any = model.eval()
        config = self.model.config
        self.layers = config.num_hidden_layers
        self.kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        self.size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    def update(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Refers to these tensors (a whole state dict; a tied output layer may be left out) from now on.

        Raises:
            RuntimeError: a tensor is missing or of another shape.
        """
        detached = {name: tensor.detach() for name, tensor in weights.items()}
        tied = bool(getattr(self.model.config, "tie_word_embeddings", False))
        missing, unexpected = self.model.load_state_dict(detached, strict=False, assign=True)
        if tied:
            self.model.tie_weights()
        absent = [name for name in missing if not (tied and name == "lm_head.weight")]
        if absent or unexpected:
            raise RuntimeError(f"weights do not fit the model: missing {absent}, unexpected {list(unexpected)}")

    def new_cache(self, sequences: int, columns: int) -> KVCache:
        """Allocates a cache for `sequences` of up to `columns` tokens."""
        like = self.model.get_input_embeddings().weight
        return KVCache((self.layers, sequences, self.kv_heads, columns, self.size), like)

    def prefill(self, tokens: torch.Tensor, padding: torch.Tensor, cache: KVCache) -> torch.Tensor:
        """Computes prompts, as `Qwen2Decoder.prefill`."""
        mask, positions = prefill_mask(tokens.shape[1], padding)
        return self._forward(tokens, positions, mask, _Columns(cache, 0))

    def step(self, tokens: torch.Tensor, padding: torch.Tensor, column: int, cache: KVCache) -> torch.Tensor:
        """Computes one more token per sequence, as `Qwen2Decoder.step`."""
        mask, positions = step_mask(column, padding)
        return self._forward(tokens[:, None], positions, mask, _Columns(cache, column))

    def _forward(
        self, tokens: torch.Tensor, positions: torch.Tensor, mask: torch.Tensor, columns: _Columns
    ) -> torch.Tensor:
        answer = self.model(
            input_ids=tokens,
            position_ids=positions,
            attention_mask=mask,
            past_key_values=columns,
            use_cache=True,
            logits_to_keep=1,
        )
        return answer.logits[:, -1].float()


class _Columns(Cache):
    """A `KVCache` as a model's layers write it: new tokens from one column on."""

    def __init__(self, cache: KVCache, column: int) -> None:
        super().__init__(layers=[])
        self.cache, self.column = cache, column

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *_args: Any, **_options: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Writes a layer's new keys and values [B, kv heads, width, size]; returns all up to them."""
        end = self.column + key_states.shape[2]
        keys, values = self.cache.keys[layer_idx], self.cache.values[layer_idx]
        keys[:, :, self.column : end] = key_states
        values[:, :, self.column : end] = value_states
        return keys[:, :, :end], values[:, :, :end]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Columns that were there before."""
        return self.column


def context_limit(config: Any) -> int:
    """Most tokens of a prompt with its completion: positions, or the window of attention where that is less."""
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    return int(min(config.max_position_embeddings, window or config.max_position_embeddings))
