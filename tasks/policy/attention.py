"""Attention over packed rows, registered with transformers under the name `packed`.

Two paths with the same numbers: PyTorch's variable-length flash attention where the device and precision have it, and
elsewhere `scaled_dot_product_attention` on gathered blocks of similar length. Keys and values of grouped-query heads
are never repeated: the kernel knows them, and in the blocks they are folded into the query axis.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from tasks.policy.packing import PackedBatch, PaddedBlock, VarlenPlan

NAME = "packed"


def supports_varlen(device: torch.device, precision: str, head_size: int) -> bool:
    """Whether variable-length flash attention runs there: bfloat16 on a GPU of compute capability 8 or newer."""
    if device.type != "cuda" or precision != "bfloat16" or head_size % 8 or head_size > 256:
        return False
    return torch.version.hip is not None or torch.cuda.get_device_capability(device) >= (8, 0)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attends within the packed sequences.

    Args:
        module: the attention layer (unused; part of the interface).
        query: [1, heads, T, head size].
        key: [1, kv heads, T, head size].
        value: as key.
        attention_mask: unused; the blocks hold the masks.
        **kwargs: `packed`, the batch being computed, and `scaling`.

    Returns:
        [1, T, heads, head size], and None for the weights.
    """
    packed: PackedBatch = kwargs["packed"]
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))  # [T, heads, size]
    if packed.varlen is not None:
        return attend_varlen(q, k, v, packed.varlen, kwargs["scaling"])[None], None
    parts = [attend_padded_block(q, k, v, block, kwargs["scaling"]) for block in packed.padded_blocks]
    rows = parts[0] if len(parts) == 1 else torch.cat(parts)
    return rows.index_select(0, packed.unpack_index)[None], None


def attend_varlen(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, plan: VarlenPlan, scaling: float) -> torch.Tensor:
    """Attends within sequences of any length; returns [T, heads, head size].

    A sequence with a prefix has more keys than queries: the kernel's causal mask is aligned at the last key, so a
    query sees the whole prefix and what precedes it in its own sequence.
    """
    keys, values = (x.index_select(0, plan.k_rows) for x in (k, v))
    bounds = (plan.cu_seqlens_q, plan.cu_seqlens_k, plan.max_seqlen_q, plan.max_seqlen_k)
    causal = (-1, 0)
    out = varlen_attn(q.contiguous(), keys, values, *bounds, scale=scaling, window_size=causal, enable_gqa=True)
    assert isinstance(out, torch.Tensor)  # a pair only with auxiliary results
    return out


def attend_padded_block(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, block: PaddedBlock, scaling: float
) -> torch.Tensor:
    """Attends within one block; returns [B * Lq, heads, head size], padding rows included."""
    batch, width = block.q_rows.shape
    heads, size, kv_heads = q.shape[1], q.shape[2], k.shape[1]
    num_kv_groups = heads // kv_heads
    queries = q[block.q_rows].view(batch, width, kv_heads, num_kv_groups, size).permute(0, 2, 3, 1, 4)
    queries = queries.reshape(batch, kv_heads, num_kv_groups * width, size)
    keys, values = (x[block.k_rows].transpose(1, 2) for x in (k, v))
    if block.mask is None and num_kv_groups == 1:
        out = scaled_dot_product_attention(queries, keys, values, is_causal=True, scale=scaling)
    else:
        mask = _causal(width, q.device) if block.mask is None else block.mask
        out = scaled_dot_product_attention(
            queries, keys, values, attn_mask=mask.repeat(1, 1, num_kv_groups, 1), scale=scaling
        )
    return (
        out.view(batch, kv_heads, num_kv_groups, width, size).permute(0, 3, 1, 2, 4).reshape(batch * width, heads, size)
    )


def _causal(width: int, device: torch.device) -> torch.Tensor:
    return torch.ones(width, width, dtype=torch.bool, device=device).tril()[None, None]


AttentionInterface.register(NAME, packed_attention)
