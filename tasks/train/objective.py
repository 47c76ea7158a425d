"""The GRPO objective and its variants as pure functions.

    A_i   = (r_i - mean(r)) / (std(r) + eps)                       std unbiased over the group; or r_i - mean(r)
    rho_t = exp(log pi(t) - log pi_old(t))                         gspo: exp of the mean over t's sequence
    J_t   = min(rho_t A, clip(rho_t, 1 - low, 1 + high) A) * w_t   w_t: truncated importance weight, 1 when off
    loss  = sum_t weight_t (-J_t + beta KL_t)

`weight_t` is 1 / tokens of the whole minibatch (token_mean), 1 / (length of t's sequence x sequences of the whole
minibatch) (sequence_mean) or 1 / (length limit x sequences) (constant_length): fixed before the minibatch is cut into
micro-batches or spread over processes, so that neither changes the gradient.

Sources: DeepSeekMath (arXiv 2402.03300) as set up in arXiv 2509.25300; KL estimators k1, k2, k3 after Schulman's note
of 2020; importance weights after Yao et al. 2025 (token-level truncation); dual clip arXiv 1912.09729; Dr. GRPO
arXiv 2503.20783; overlong mask and penalty DAPO, arXiv 2503.14476; CISPO arXiv 2506.13585; GSPO arXiv 2507.18071.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from tasks.study.params import Objective

Aggregation = Literal["token_mean", "sequence_mean", "constant_length"]

OVERFLOW_MARGIN = 20.0
"""Nats beyond `kl_clamp` at which log-ratios are cut before exp: every estimate is beyond its clamp there."""


def group_advantages(
    rewards: torch.Tensor, eps: float, scale: Literal["group_std", "none"] = "group_std"
) -> torch.Tensor:
    """Normalizes rewards within their group.

    Args:
        rewards: float [prompts, G].
        eps: added to the standard deviation.
        scale: whether to divide by the group's standard deviation.

    Returns:
        Advantages, float [prompts, G]; all zero where a group's rewards are equal.
    """
    centered = rewards - rewards.mean(1, keepdim=True)
    if scale == "none":
        return centered
    return centered / (rewards.std(1, keepdim=True, unbiased=True) + eps)


def overlong_penalty(lengths: torch.Tensor, limit: int, buffer: int) -> torch.Tensor:
    """What is added to the reward of long completions: 0 down to -1 over the last `buffer` tokens before the limit.

    Args:
        lengths: int, completion lengths, any shape.
        limit: longest completion, tokens.
        buffer: tokens over which the penalty grows.
    """
    return ((limit - buffer - lengths) / buffer).clamp(-1.0, 0.0)


def kl_penalty(
    logprobs: torch.Tensor, reference: torch.Tensor, kind: Literal["k1", "k2", "k3"], clamp: float | None = None
) -> torch.Tensor:
    """Estimates KL(policy || reference) per token from tokens sampled by the policy.

    With d = log reference - log policy: k1 = -d, k2 = d^2 / 2, k3 = exp(d) - d - 1; each cut to +- `clamp`, nats.
    """
    d = reference - logprobs
    if clamp is not None:
        d = d.clamp(-clamp - OVERFLOW_MARGIN, clamp + OVERFLOW_MARGIN)  # inf would make the clamp's zero gradient NaN
    estimates = {"k1": lambda: -d, "k2": lambda: d.square() / 2, "k3": lambda: torch.expm1(d) - d}
    kl = estimates[kind]()
    return kl if clamp is None else kl.clamp(-clamp, clamp)


@dataclass(frozen=True)
class MinibatchSize:
    """What the loss of a whole minibatch is divided by, over all micro-batches and processes.

    Attributes:
        tokens: completion tokens that have a loss.
        sequences: completions, those without a loss included.
        length_limit: longest possible completion, tokens.
    """

    tokens: int
    sequences: int
    length_limit: int


def sequence_loss_weights(lengths: torch.Tensor, whole: MinibatchSize, aggregation: Aggregation) -> torch.Tensor:
    """Returns the weight of each sequence's tokens, such that the weighted sum over a whole minibatch is the loss.

    Args:
        lengths: int [sequences], completion lengths of a part of the minibatch.
        whole: of the whole minibatch.
        aggregation: token_mean, sequence_mean or constant_length.

    Returns:
        float32 [sequences].
    """
    if aggregation == "token_mean":
        return torch.full(lengths.shape, 1.0 / max(whole.tokens, 1))
    if aggregation == "constant_length":
        return torch.full(lengths.shape, 1.0 / (whole.sequences * whole.length_limit))
    return 1.0 / (lengths.float() * whole.sequences)


def importance_weights(trainer: torch.Tensor, sampler: torch.Tensor, cap: float) -> torch.Tensor:
    """Truncated importance weights min(exp(log trainer - log sampler), cap), per token, without gradient."""
    return (trainer - sampler).exp().clamp(max=cap).detach()


def sequence_log_ratios(log_ratios: torch.Tensor, sequence: torch.Tensor) -> torch.Tensor:
    """Means of log-ratios over each token's sequence, one per token (GSPO).

    Args:
        log_ratios: [R], log pi - log pi_old.
        sequence: int64 [R], index of each token's completion; completions are whole.
    """
    lengths = torch.bincount(sequence)
    sums = log_ratios.new_zeros(lengths.shape).index_add(0, sequence, log_ratios)
    return (sums / lengths.clamp(min=1))[sequence]


@dataclass(frozen=True)
class TokenLoss:
    """Per-token parts of the loss, each [R].

    Attributes:
        loss: -J + beta KL, before weighting.
        kl: k3 estimate for the record, zeros where there is no reference.
        clipped: True where a limit of the ratio holds the gradient back.
    """

    loss: torch.Tensor
    kl: torch.Tensor
    clipped: torch.Tensor


def token_losses(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    reference: torch.Tensor | None,
    advantages: torch.Tensor,
    objective: Objective,
    importance: torch.Tensor | None = None,
    sequence: torch.Tensor | None = None,
) -> TokenLoss:
    """Computes the loss of each token.

    Args:
        logprobs: [R] log-probabilities under the policy, with gradient.
        old_logprobs: [R] under the policy that sampled.
        reference: [R] under the initial policy; None when the KL coefficient is 0.
        advantages: [R], the advantage of each token's completion.
        objective: loss, clip range, KL coefficient and estimator.
        importance: [R] weights of truncated importance sampling; None = off.
        sequence: int64 [R], index of each token's completion; needed for loss gspo.
    """
    log_ratio = logprobs - old_logprobs
    if objective.loss == "gspo":
        assert sequence is not None
        log_ratio = sequence_log_ratios(log_ratio, sequence)
    if objective.loss == "cispo":
        token_objective, clipped = _cispo(logprobs, log_ratio.exp(), advantages, objective)
    else:
        token_objective, clipped = _clipped_surrogate(log_ratio.exp(), advantages, objective)
    if importance is not None:
        token_objective = token_objective * importance
    loss = -token_objective
    kl = torch.zeros_like(loss)
    if reference is not None:
        kind, clamp = objective.kl_estimator, objective.kl_clamp
        loss = loss + objective.kl_coefficient * kl_penalty(logprobs, reference, kind, clamp)
        kl = kl_penalty(logprobs.detach(), reference, "k3", clamp)
    return TokenLoss(loss, kl, clipped.detach())


def _clipped_surrogate(
    ratio: torch.Tensor, advantages: torch.Tensor, objective: Objective
) -> tuple[torch.Tensor, torch.Tensor]:
    """PPO's objective, with the dual clip where A < 0: max(min(rho A, clip(rho) A), clip_dual A)."""
    surrogate = ratio * advantages
    clipped_surrogate = ratio.clamp(1.0 - objective.clip_low, 1.0 + objective.clip_high) * advantages
    clipped = clipped_surrogate < surrogate
    if objective.clip_dual is not None:
        clipped = clipped | ((ratio > objective.clip_dual) & (advantages < 0))
        surrogate = ratio.clamp(max=objective.clip_dual) * advantages
    return torch.minimum(surrogate, clipped_surrogate), clipped


def _cispo(
    logprobs: torch.Tensor, ratio: torch.Tensor, advantages: torch.Tensor, objective: Objective
) -> tuple[torch.Tensor, torch.Tensor]:
    """min(rho, 1 + high) A log pi, the weight without gradient: no token's gradient is dropped."""
    limit = 1.0 + objective.clip_high
    return ratio.detach().clamp(max=limit) * advantages * logprobs, ratio > limit
