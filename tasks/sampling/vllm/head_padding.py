"""Embeds a small Qwen2 exactly in one with wider heads, for attention kernels that lack its head size.

vLLM's CPU attention knows head sizes 32, 64, 80, 96, ... and its Qwen2 takes head size = hidden / heads. The miniature
family is narrower than that. Instead of changing the family, its weights are embedded in a Qwen2 with head size
D >= d and hidden size H = heads x D that computes the same function:

    every projection     zero rows and columns are added; the added channels stay exactly zero
    rotary embedding     acts on the first d channels of a head (partial_rotary_factor = d / D), frequencies unchanged
    softmax(q k / √D)    q is multiplied by √(D / d)
    RMSNorm over H       the mean square shrinks by h / H: weights x √(h / H), eps x h / H

The only difference is float32 rounding. Not covered: architectures other than Qwen2, untied output layers are fine,
sliding windows and quantised weights are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tasks.study.errors import InputError


@dataclass(frozen=True)
class HeadPadding:
    """How a model is embedded.

    Attributes:
        heads: query heads.
        kv_heads: key and value heads.
        head_dim: head size d of the model.
        padded_head_dim: head size D of the embedding.
        hidden: hidden size h of the model.
    """

    heads: int
    kv_heads: int
    head_dim: int
    padded_head_dim: int
    hidden: int

    @property
    def padded_hidden(self) -> int:
        """Hidden size H = heads x D of the embedding."""
        return self.heads * self.padded_head_dim


def plan_head_padding(config: Mapping[str, Any], supported: list[int]) -> HeadPadding | None:
    """Chooses the embedding; None where the kernel takes the model as it is.

    Args:
        config: the checkpoint's `config.json`.
        supported: head sizes the attention kernel knows.

    Raises:
        InputError: the model needs an embedding and is not a plain Qwen2.
    """
    heads, hidden = int(config["num_attention_heads"]), int(config["hidden_size"])
    head_dim = int(config.get("head_dim") or hidden // heads)
    if head_dim in supported:
        return None
    plain = config.get("model_type") == "qwen2" and not config.get("use_sliding_window")
    larger = [size for size in sorted(supported) if size > head_dim]
    if not plain or not larger or head_dim * heads != hidden or "quantization_config" in config:
        raise InputError(f"vLLM on this machine knows head sizes {supported}, the checkpoint has {head_dim}")
    return HeadPadding(heads, int(config["num_key_value_heads"]), head_dim, larger[0], hidden)


def pad_config(config: Mapping[str, Any], padding: HeadPadding) -> dict[str, Any]:
    """Returns the `config.json` of the embedding."""
    rope = dict(config.get("rope_parameters") or {"rope_type": "default", "rope_theta": config.get("rope_theta", 1e4)})
    rope["partial_rotary_factor"] = padding.head_dim / padding.padded_head_dim
    eps = config["rms_norm_eps"] * padding.hidden / padding.padded_hidden
    padded = {"hidden_size": padding.padded_hidden, "rms_norm_eps": eps, "rope_parameters": rope}
    return {**config, **padded, "head_dim": padding.padded_head_dim}


def pad_tensor(name: str, tensor: torch.Tensor, padding: HeadPadding) -> torch.Tensor:
    """Returns one weight of the embedding; names are those of a transformers Qwen2 checkpoint."""
    kind = name.removesuffix(".weight").removesuffix(".bias").rsplit(".", 1)[-1]
    if kind in ("q_proj", "k_proj", "v_proj"):
        heads = padding.heads if kind == "q_proj" else padding.kv_heads
        scale = (padding.padded_head_dim / padding.head_dim) ** 0.5 if kind == "q_proj" else 1.0
        out = _pad_heads(tensor * scale, heads, padding)
        return _pad_last(out, padding.padded_hidden) if name.endswith(".weight") else out
    if kind == "o_proj":
        return _pad_first(_pad_heads(tensor.T, padding.heads, padding).T, padding.padded_hidden)
    if kind in ("gate_proj", "up_proj", "embed_tokens", "lm_head"):
        return _pad_last(tensor, padding.padded_hidden)
    if kind == "down_proj":
        return _pad_first(tensor, padding.padded_hidden)
    if kind in ("input_layernorm", "post_attention_layernorm", "norm"):
        return _pad_last(tensor * (padding.hidden / padding.padded_hidden) ** 0.5, padding.padded_hidden)
    raise InputError(f"weight {name!r} is not one of a Qwen2 checkpoint")


def _pad_heads(tensor: torch.Tensor, heads: int, padding: HeadPadding) -> torch.Tensor:
    """Pads each head's block of rows from d to D."""
    blocks = tensor.reshape(heads, padding.head_dim, *tensor.shape[1:])
    out = tensor.new_zeros(heads, padding.padded_head_dim, *tensor.shape[1:])
    out[:, : padding.head_dim] = blocks
    return out.reshape(heads * padding.padded_head_dim, *tensor.shape[1:])


def _pad_first(tensor: torch.Tensor, size: int) -> torch.Tensor:
    out = tensor.new_zeros(size, *tensor.shape[1:])
    out[: tensor.shape[0]] = tensor
    return out


def _pad_last(tensor: torch.Tensor, size: int) -> torch.Tensor:
    return _pad_first(tensor.T, size).T.contiguous() if tensor.dim() > 1 else _pad_first(tensor, size)
