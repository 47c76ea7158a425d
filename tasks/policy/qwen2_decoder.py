"""Decoding a Qwen2-architecture policy with a preallocated key-value cache.

Difference from `generate`: no modules, no cache objects and no masks rebuilt per token, but a few fused matrix
products per layer (query, key and value in one; gate and up in one). At the widths of the miniature family Python's
overhead is most of the cost of decoding. Prompts are padded on the left, so every step writes
one column of the cache.

Not covered: scaled rotary embeddings, sliding windows, other architectures (`decodes`); `ModelDecoder` computes those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import linear, scaled_dot_product_attention, silu

from tasks.policy.kv_cache import KVCache, prefill_mask, step_mask


@dataclass
class _Layer:
    norm_in: torch.Tensor
    qkv: torch.Tensor
    qkv_bias: torch.Tensor | None
    out: torch.Tensor
    norm_mlp: torch.Tensor
    gate_up: torch.Tensor
    down: torch.Tensor


def decodes(config: Any) -> bool:
    """Whether a config is that of a model which `Qwen2Decoder` computes."""
    if config.model_type != "qwen2" or config.use_sliding_window:
        return False
    return bool(config.rope_parameters.get("rope_type", "default") == "default")


class Qwen2Decoder:
    """The forward pass of a Qwen2 model for sampling, on fused copies of its weights."""

    def __init__(self, config: Any, weights: Mapping[str, torch.Tensor]) -> None:
        """Fuses the weights of a Qwen2ForCausalLM state dict.

        Raises:
            ValueError: another architecture, or a variant that `decodes` excludes.
        """
        if not decodes(config):
            raise ValueError(f"model type {config.model_type!r} is no plain qwen2 model")
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads
        self.size = getattr(config, "head_dim", None) or config.hidden_size // self.heads
        self.eps = config.rms_norm_eps
        self.layers = [_fuse(weights, f"model.layers.{i}.") for i in range(config.num_hidden_layers)]
        self.embedding = weights["model.embed_tokens.weight"].detach()
        self.norm = weights["model.norm.weight"].detach()
        self.head = self.embedding if config.tie_word_embeddings else weights["lm_head.weight"].detach()
        half = torch.arange(0, self.size, 2, dtype=torch.float32, device=self.embedding.device)
        self.frequencies = 1.0 / (config.rope_parameters["rope_theta"] ** (half / self.size))

    def new_cache(self, sequences: int, columns: int) -> KVCache:
        """Allocates a cache for `sequences` of up to `columns` tokens."""
        return KVCache((len(self.layers), sequences, self.kv_heads, columns, self.size), self.embedding)

    def prefill(self, tokens: torch.Tensor, padding: torch.Tensor, cache: KVCache) -> torch.Tensor:
        """Computes prompts.

        Args:
            tokens: int64 [B, L], padded on the left.
            padding: int64 [B], how many columns are padding.
            cache: columns 0..L-1 are written.

        Returns:
            float32 [B, vocabulary], the logits after each prompt.
        """
        mask, positions = prefill_mask(tokens.shape[1], padding)
        return self._forward(tokens, positions, 0, mask, cache)[:, -1].float()

    def step(self, tokens: torch.Tensor, padding: torch.Tensor, column: int, cache: KVCache) -> torch.Tensor:
        """Computes one more token per sequence, written at `column`; returns logits, float32 [B, vocabulary]."""
        mask, positions = step_mask(column, padding)
        return self._forward(tokens[:, None], positions, column, mask, cache)[:, -1].float()

    def _forward(
        self, tokens: torch.Tensor, positions: torch.Tensor, column: int, mask: torch.Tensor, cache: KVCache
    ) -> torch.Tensor:
        """One pass over new tokens: h += Wo softmax(q k' / sqrt(d)) v, h += Wdown (silu(Wgate h) * Wup h), by layer.

        Args:
            tokens: ids [batch, width].
            positions: of each token in its sequence [batch, width].
            column: where in the cache the tokens go, `column` to `column + width`.
            mask: which of the `end` cached columns a token attends to [batch, 1, width or 1, end].
            cache: keys and values of all earlier columns; written.

        Returns:
            Logits after the last token of each sequence [batch, 1, vocabulary].
        """
        batch, width = tokens.shape
        end = column + width
        angles = positions[..., None].float() * self.frequencies
        cos, sin = (f(angles).to(self.embedding.dtype)[:, :, None, :] for f in (torch.cos, torch.sin))
        num_kv_groups = self.heads // self.kv_heads
        mask = mask.repeat_interleave(num_kv_groups, 2) if mask.shape[2] > 1 and num_kv_groups > 1 else mask
        hidden = self.embedding[tokens]
        for index, layer in enumerate(self.layers):
            qkv = linear(self._norm(hidden, layer.norm_in), layer.qkv, layer.qkv_bias)
            qkv = qkv.view(batch, width, self.heads + 2 * self.kv_heads, self.size)
            rotated = _rotate(qkv[:, :, : self.heads + self.kv_heads], cos, sin)
            cache.keys[index, :, :, column:end] = rotated[:, :, self.heads :].transpose(1, 2)
            cache.values[index, :, :, column:end] = qkv[:, :, self.heads + self.kv_heads :].transpose(1, 2)
            q = rotated[:, :, : self.heads].view(batch, width, self.kv_heads, num_kv_groups, self.size)
            q = q.permute(0, 2, 1, 3, 4).reshape(batch, self.kv_heads, width * num_kv_groups, self.size)
            attn = scaled_dot_product_attention(
                q, cache.keys[index, :, :, :end], cache.values[index, :, :, :end], attn_mask=mask
            )
            attn = attn.view(batch, self.kv_heads, width, num_kv_groups, self.size).permute(0, 2, 1, 3, 4)
            hidden = hidden + linear(attn.reshape(batch, width, self.heads * self.size), layer.out)
            gate, up = linear(self._norm(hidden, layer.norm_mlp), layer.gate_up).chunk(2, dim=-1)
            hidden = hidden + linear(silu(gate) * up, layer.down)
        return linear(self._norm(hidden[:, -1:], self.norm), self.head)

    def _norm(self, hidden: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        wide = hidden.float()
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.eps)
        return weight * (wide * scale).to(hidden.dtype)


def _rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary embedding: pairs (x_i, x_{i + size/2}) turn by the position's angle."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


def _fuse(weights: Mapping[str, torch.Tensor], prefix: str) -> _Layer:
    def get(name: str) -> torch.Tensor:
        return weights[prefix + name].detach()

    projections = [f"self_attn.{x}_proj." for x in "qkv"]
    biased = prefix + projections[0] + "bias" in weights
    return _Layer(
        norm_in=get("input_layernorm.weight"),
        qkv=torch.cat([get(name + "weight") for name in projections]),
        qkv_bias=torch.cat([get(name + "bias") for name in projections]) if biased else None,
        out=get("self_attn.o_proj.weight"),
        norm_mlp=get("post_attention_layernorm.weight"),
        gate_up=torch.cat([get("mlp.gate_proj.weight"), get("mlp.up_proj.weight")]),
        down=get("mlp.down_proj.weight"),
    )
