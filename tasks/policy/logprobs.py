"""Log-probabilities of chosen tokens, and entropies, without ever holding [tokens, vocabulary] logits.

    log p(y | h) = h.w_y / T - logsumexp_v(h.w_v / T)
    H(h)         = logsumexp_v(h.w_v / T) - sum_v p(v | h) h.w_v / T

Forward and backward go over the rows in chunks and recompute the logits; the softmax is in float32 whatever the
weights' precision.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from tasks.costs.logit_chunks import logit_rows


@dataclass(frozen=True)
class HeadOptions:
    """How the output layer is computed.

    Attributes:
        temperature: logits are divided by it.
        float32: products are float32, instead of the weights' precision widened afterwards.
        entropy: whether entropies are returned as well.
    """

    temperature: float = 1.0
    float32: bool = False
    entropy: bool = False


def token_logprobs(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, options: HeadOptions = HeadOptions()
) -> torch.Tensor:
    """Returns log-probabilities of targets.

    Args:
        hidden: [R, width], the rows that predict.
        weight: [vocabulary, width], the output embedding.
        targets: int64 [R].
        options: temperature, precision, entropies.

    Returns:
        float32 [R]; with entropies [2, R], log-probabilities and entropies. Differentiable in hidden and weight.
    """
    return _TokenLogprobs.apply(hidden, weight, targets, options)


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, options: HeadOptions
    ) -> torch.Tensor:
        out = torch.empty(hidden.shape[0], dtype=torch.float32, device=hidden.device)
        total = torch.empty_like(out)
        entropy = torch.empty_like(out) if options.entropy else None
        for rows in _chunks(hidden, weight):
            logits = _logits(hidden[rows], weight, options)
            total[rows] = logits.logsumexp(1)
            out[rows] = logits.gather(1, targets[rows, None])[:, 0] - total[rows]
            if entropy is not None:
                probs = (logits - total[rows, None]).exp_()
                entropy[rows] = total[rows] - probs.mul_(logits).sum(1)
        ctx.save_for_backward(hidden, weight, targets, total, entropy)
        ctx.options = options
        return out if entropy is None else torch.stack((out, entropy))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        hidden, weight, targets, total, entropy = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device)
        wide = ctx.options.float32
        scale = (grads[0] / ctx.options.temperature)[..., None]  # [R, 1], with entropies [2, R, 1]
        scale, entropy_scale = (scale, None) if entropy is None else (scale[0], scale[1])
        for rows in _chunks(hidden, weight):
            # (one-hot - softmax) x scale, in place: the chunk is most of what this function moves through memory
            grad = _logits(hidden[rows], weight, ctx.options).sub_(total[rows, None])
            if entropy_scale is None:
                grad = grad.exp_().mul_(-scale[rows])
            else:  # - softmax x (scale + entropy scale x (log softmax + H))
                slope = (grad + entropy[rows, None]).mul_(entropy_scale[rows]).add_(scale[rows])
                grad = grad.exp_().mul_(slope.neg_())
            grad = grad.scatter_add_(1, targets[rows, None], scale[rows])
            grad = grad if wide else grad.to(hidden.dtype)
            grad_hidden[rows] = grad @ weight.to(grad.dtype)
            _add_product(grad_weight, grad.T, hidden[rows])
        return grad_hidden, grad_weight.to(weight.dtype), None, None


def _logits(hidden: torch.Tensor, weight: torch.Tensor, options: HeadOptions) -> torch.Tensor:
    """float32 [rows, vocabulary], of memory of its own."""
    if not options.float32 or hidden.dtype == torch.float32:
        logits = (hidden @ weight.T).float()
    elif hidden.is_cuda:
        logits = torch.mm(hidden, weight.T, out_dtype=torch.float32)
    else:
        logits = hidden.float() @ weight.float().T
    return logits if options.temperature == 1.0 else logits.div_(options.temperature)


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """Adds a product to a float32 matrix; on a GPU in one pass, without a rounded product in between."""
    if total.is_cuda and left.dtype == torch.bfloat16:
        torch.addmm(total, left, right, out_dtype=torch.float32, out=total)
    else:
        total += left @ right.to(left.dtype)


def _chunks(hidden: torch.Tensor, weight: torch.Tensor) -> list[slice]:
    step = logit_rows(weight.shape[0], hidden.is_cuda)
    return [slice(start, start + step) for start in range(0, hidden.shape[0], step)]
