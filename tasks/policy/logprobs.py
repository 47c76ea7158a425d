"""Log-probabilities of chosen tokens without ever holding [tokens, vocabulary] logits.

    log p(y | h) = h.w_y / T - logsumexp_v(h.w_v / T)

Forward and backward go over the rows in chunks and recompute the logits; the softmax is in float32 whatever the
weights' precision.
"""

from __future__ import annotations

from typing import Any

import torch

CHUNK_ELEMENTS = 1 << 25
"""Logits in memory at once, elements (128 MiB in float32)."""


def token_logprobs(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """Returns log-probabilities of targets.

    Args:
        hidden: [R, width], the rows that predict.
        weight: [vocabulary, width], the output embedding.
        targets: int64 [R].
        temperature: logits are divided by it.

    Returns:
        float32 [R], differentiable in hidden and weight.
    """
    return _TokenLogprobs.apply(hidden, weight, targets, temperature)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, temperature: float
    ) -> torch.Tensor:
        out = torch.empty(hidden.shape[0], dtype=torch.float32, device=hidden.device)
        total = torch.empty_like(out)
        for rows in _chunks(hidden, weight):
            logits = _logits(hidden[rows], weight, temperature)
            total[rows] = logits.logsumexp(1)
            out[rows] = logits.gather(1, targets[rows, None])[:, 0] - total[rows]
        ctx.save_for_backward(hidden, weight, targets, total)
        ctx.temperature = temperature
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        hidden, weight, targets, total = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        scale = (grads[0] / ctx.temperature)[:, None]
        for rows in _chunks(hidden, weight):
            # (one-hot - softmax) x scale, in place: the chunk is most of what this function moves through memory
            grad = _logits(hidden[rows], weight, ctx.temperature).sub_(total[rows, None]).exp_().mul_(-scale[rows])
            grad = grad.scatter_add_(1, targets[rows, None], scale[rows]).to(hidden.dtype)
            grad_hidden[rows] = grad @ weight
            grad_weight += grad.T @ hidden[rows]
        return grad_hidden, grad_weight.to(weight.dtype), None, None


def _logits(hidden: torch.Tensor, weight: torch.Tensor, temperature: float) -> torch.Tensor:
    """float32 [rows, vocabulary], of memory of its own."""
    logits = (hidden @ weight.T).float()
    return logits if temperature == 1.0 else logits.div_(temperature)


def _chunks(hidden: torch.Tensor, weight: torch.Tensor) -> list[slice]:
    step = max(1, CHUNK_ELEMENTS // weight.shape[0])
    return [slice(start, start + step) for start in range(0, hidden.shape[0], step)]
