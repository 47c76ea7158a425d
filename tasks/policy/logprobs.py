"""Log-probabilities of chosen tokens, and entropies, without ever holding [tokens, vocabulary] logits.

    log p(y | h) = h.w_y / T - logsumexp_v(h.w_v / T)
    H(h)         = logsumexp_v(h.w_v / T) - sum_v p(v | h) h.w_v / T

Forward and backward go over the rows in chunks and recompute the logits; the softmax is in float32 whatever the
weights' precision. On a GPU what happens to a chunk between the matrix products is compiled into two kernels: they read
the logits in the weights' precision and write nothing as wide as them in float32.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
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
            if hidden.is_cuda:
                logits = _raw_logits(hidden[rows], weight, options)
                found = _compiled(row_statistics)(logits, targets[rows], options)
                out[rows], total[rows] = found[:2]
                if entropy is not None:
                    entropy[rows] = found[2]
                continue
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
            if hidden.is_cuda:
                logits = _raw_logits(hidden[rows], weight, ctx.options)
                of_entropy = None if entropy is None or entropy_scale is None else (entropy[rows], entropy_scale[rows])
                grad = _compiled(logit_gradient)(
                    logits, targets[rows], total[rows], scale[rows], of_entropy, ctx.options
                )
                grad_hidden[rows] = grad @ weight.to(grad.dtype)
                _add_product(grad_weight, grad.T, hidden[rows])
                continue
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


def row_statistics(
    logits: torch.Tensor, targets: torch.Tensor, options: HeadOptions
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """What the forward pass takes from a chunk; to be compiled, as eager code it would be slow and wide.

    Args:
        logits: [rows, vocabulary], of any precision, not yet divided by the temperature.
        targets: int64 [rows].
        options: temperature, entropies.

    Returns:
        float32 [rows]: log-probabilities of the targets, log-sum-exps, and entropies if they are asked for.
    """
    scaled = logits.float() / options.temperature
    total = scaled.logsumexp(1)
    chosen = scaled.gather(1, targets[:, None])[:, 0] - total
    if not options.entropy:
        return chosen, total, None
    return chosen, total, total - ((scaled - total[:, None]).exp() * scaled).sum(1)


def logit_gradient(
    logits: torch.Tensor,
    targets: torch.Tensor,
    total: torch.Tensor,
    scale: torch.Tensor,
    of_entropy: tuple[torch.Tensor, torch.Tensor] | None,
    options: HeadOptions,
) -> torch.Tensor:
    """Gradient of a chunk's logits, (one-hot - softmax) x scale and the entropies' part; to be compiled.

    Args:
        logits: as in `row_statistics`.
        targets: int64 [rows].
        total: log-sum-exps [rows].
        scale: gradients of the log-probabilities over the temperature [rows, 1].
        of_entropy: entropies [rows] and their gradients over the temperature [rows, 1].
        options: temperature.

    Returns:
        [rows, vocabulary], of the logits' precision.
    """
    logs = logits.float() / options.temperature - total[:, None]
    slope = scale if of_entropy is None else (logs + of_entropy[0][:, None]) * of_entropy[1] + scale
    grad = -logs.exp() * slope
    vocabulary = torch.arange(logits.shape[1], device=logits.device)
    return torch.where(vocabulary == targets[:, None], grad + scale, grad).to(logits.dtype)


@functools.cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, dynamic=True)


def _raw_logits(hidden: torch.Tensor, weight: torch.Tensor, options: HeadOptions) -> torch.Tensor:
    """[rows, vocabulary] on a GPU, before the temperature; float32 if the options ask for it."""
    if options.float32 and hidden.dtype != torch.float32:
        return torch.mm(hidden, weight.T, out_dtype=torch.float32)
    return hidden @ weight.T


def _logits(hidden: torch.Tensor, weight: torch.Tensor, options: HeadOptions) -> torch.Tensor:
    """float32 [rows, vocabulary] on a CPU, of memory of its own."""
    if not options.float32 or hidden.dtype == torch.float32:
        logits = (hidden @ weight.T).float()
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
