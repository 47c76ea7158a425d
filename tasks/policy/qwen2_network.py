"""A plain Qwen2 network over packed batches, with its gradient, in few operator calls.

The miniature's layers are so narrow that dispatching their operators costs as much as computing them. Here query, key
and value are one product, gate and up another, residuals are added inside the products, and normalization, rotation
and SwiGLU have gradients written by hand.

The numbers are those of the transformers modules up to rounding; the weights are the modules' own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import embedding, linear

from tasks.policy.attention import attend_padded_block
from tasks.policy.packing import PackedBatch
from tasks.policy.qwen2_decoder import decodes


def computes(model: Any, packed: PackedBatch) -> bool:
    """Whether `hidden_rows` computes a model on a batch: plain Qwen2 in float32 on a CPU, whole, no adapters."""
    if not decodes(model.config) or packed.varlen is not None or model.is_gradient_checkpointing:
        return False
    weight = model.model.embed_tokens.weight
    if type(weight) is not torch.nn.Parameter or weight.device.type != "cpu" or weight.dtype != torch.float32:
        return False
    first = model.model.layers[0]
    modules = [*first.self_attn.children(), first.mlp.gate_proj, first.mlp.up_proj, first.mlp.down_proj]
    return all(type(module) is torch.nn.Linear for module in modules)


def hidden_rows(model: Any, packed: PackedBatch, short_last_layer: bool = False) -> torch.Tensor:
    """The last hidden state at the rows that predict a token.

    Args:
        model: a Qwen2ForCausalLM for which `computes` is true.
        packed: the batch.
        short_last_layer: whether rows that predict nothing end at the last attention, where only their keys and values
            matter; the FLOPs ledger counts passes without this.

    Returns:
        float32 [R, width], in the order of `packed.logit_rows`.
    """
    body, config = model.model, model.config
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // heads
    half = torch.arange(0, size, 2, dtype=torch.float32)
    angles = packed.position_ids[:, None].float() / config.rope_parameters["rope_theta"] ** (half / size)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    needed, place = packed.logit_rows.unique(return_inverse=True) if short_last_layer else (None, packed.logit_rows)
    hidden = embedding(packed.input_ids, body.embed_tokens.weight, body.embed_tokens.padding_idx)
    for index, layer in enumerate(body.layers):
        attention, mlp = layer.self_attn, layer.mlp
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        bias = None if attention.q_proj.bias is None else torch.cat([p.bias for p in projections])
        normed = _norm(hidden, layer.input_layernorm)
        qkv = linear(normed, torch.cat([p.weight for p in projections]), bias).view(-1, heads + 2 * kv_heads, size)
        q, k, v = _Rotate.apply(qkv, cos, sin, heads, kv_heads)
        parts = [attend_padded_block(q, k, v, block, size**-0.5) for block in packed.padded_blocks]
        rows = parts[0] if len(parts) == 1 else torch.cat(parts)
        unpack = packed.unpack_index
        if needed is not None and index == len(body.layers) - 1:
            unpack, hidden = unpack[needed], hidden.index_select(0, needed)
        attended = rows.index_select(0, unpack).view(-1, heads * size)
        hidden = torch.addmm(hidden, attended, attention.o_proj.weight.T)
        normed = _norm(hidden, layer.post_attention_layernorm)
        gate_up = linear(normed, torch.cat((mlp.gate_proj.weight, mlp.up_proj.weight)))
        hidden = torch.addmm(hidden, _SwiGLU.apply(gate_up), mlp.down_proj.weight.T)
    return _norm(hidden, body.norm).index_select(0, place)


def _norm(hidden: torch.Tensor, module: Any) -> torch.Tensor:
    return _RMSNorm.apply(hidden, module.weight, module.variance_epsilon)


class _RMSNorm(torch.autograd.Function):
    """y = w x / sqrt(mean(x^2) + eps), row by row."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        scale = x.square().mean(-1, keepdim=True).add_(eps).rsqrt_()
        unit = x * scale
        ctx.save_for_backward(unit, scale, weight)
        return unit * weight

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        """dx = s (g w - u mean(g w u)), dw = sum over rows of g u; u = x s, s the row's scale."""
        unit, scale, weight = ctx.saved_tensors
        product = grads[0] * unit
        along = (product @ weight).div_(unit.shape[1])[:, None]
        return (grads[0] * weight).addcmul_(unit, along, value=-1).mul_(scale), product.sum(0), None


class _Rotate(torch.autograd.Function):
    """Splits [T, heads + 2 kv heads, size] into query, key and value and turns the first two by their positions.

    Pairs (x_i, x_{i + size/2}) turn by the position's angle; the gradient turns back.
    """

    @staticmethod
    def forward(
        ctx: Any, qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, heads: int, kv_heads: int
    ) -> tuple[torch.Tensor, ...]:
        ctx.save_for_backward(cos, sin)
        ctx.split = [heads, kv_heads, kv_heads]
        turned, value = qkv.split([heads + kv_heads, kv_heads], dim=1)
        query, key = _turn(turned, cos, sin, 1.0, torch.empty_like(turned)).split(ctx.split[:2], dim=1)
        return query, key, value.clone()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        cos, sin = ctx.saved_tensors
        grad = torch.cat(grads, dim=1)
        turned = grad[:, : sum(ctx.split[:2])]
        _turn(turned.clone(), cos, sin, -1.0, turned)
        return grad, None, None, None, None


def _turn(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, sign: float, out: torch.Tensor) -> torch.Tensor:
    """Writes (x1 cos - sign x2 sin, x2 cos + sign x1 sin) into `out`."""
    (first, second), (low, high) = x.chunk(2, dim=-1), out.chunk(2, dim=-1)
    torch.mul(first, cos, out=low).addcmul_(second, sin, value=-sign)
    torch.mul(second, cos, out=high).addcmul_(first, sin, value=sign)
    return out


class _SwiGLU(torch.autograd.Function):
    """silu(gate) * up, of gate and up side by side [T, 2 F]."""

    @staticmethod
    def forward(ctx: Any, gate_up: torch.Tensor) -> torch.Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        ctx.save_for_backward(gate_up)
        return torch.nn.functional.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        """With s = sigmoid(g): d(g s u) = (u s (1 + g (1 - s)), g s)."""
        gate, up = ctx.saved_tensors[0].chunk(2, dim=-1)
        grad = torch.empty_like(ctx.saved_tensors[0])
        to_gate, to_up = grad.chunk(2, dim=-1)
        torch.mul(torch.nn.functional.silu(gate), grads[0], out=to_up)
        torch.ops.aten.silu_backward.grad_input(grads[0] * up, gate, grad_input=to_gate)
        return grad
