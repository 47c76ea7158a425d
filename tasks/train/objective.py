"""The GRPO objective as pure functions.

    A_i   = (r_i - mean(r)) / (std(r) + eps)                       std unbiased over the group
    rho_t = exp(log pi(t) - log pi_old(t))
    J_t   = min(rho_t A, clip(rho_t, 1 - low, 1 + high) A) * w_t   w_t: truncated importance weight, 1 when off
    loss  = sum_t weight_t (-J_t + beta KL_t)

`weight_t` is 1 / tokens of the whole minibatch (token_mean) or 1 / (length of t's sequence x sequences of the whole
minibatch) (sequence_mean): fixed before the minibatch is cut into micro-batches or spread over processes, so that
neither changes the gradient. Source: DeepSeekMath (arXiv 2402.03300) as set up in arXiv 2509.25300; KL estimators k1,
k2, k3 after Schulman's note of 2020; importance weights after Yao et al. 2025 (token-level truncation).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

from tasks.study.params import Objective


def group_advantages(rewards: torch.Tensor, eps: float) -> torch.Tensor:
    """Normalizes rewards within their group.

    Args:
        rewards: float [prompts, G].
        eps: added to the standard deviation.

    Returns:
        Advantages, float [prompts, G]; all zero where a group's rewards are equal.
    """
    centered = rewards - rewards.mean(1, keepdim=True)
    return centered / (rewards.std(1, keepdim=True, unbiased=True) + eps)


def kl_penalty(logprobs: torch.Tensor, reference: torch.Tensor, kind: Literal["k1", "k2", "k3"]) -> torch.Tensor:
    """Estimates KL(policy || reference) per token from tokens sampled by the policy.

    With d = log reference - log policy: k1 = -d, k2 = d^2 / 2, k3 = exp(d) - d - 1.
    """
    d = reference - logprobs
    if kind == "k1":
        return -d
    return d.square() / 2 if kind == "k2" else torch.expm1(d) - d


def sequence_loss_weights(
    lengths: torch.Tensor, totals: tuple[int, int], aggregation: Literal["token_mean", "sequence_mean"]
) -> torch.Tensor:
    """Returns the weight of each sequence's tokens, such that the weighted sum over a whole minibatch is the loss.

    Args:
        lengths: int [sequences], completion lengths of a part of the minibatch.
        totals: (tokens, sequences) of the whole minibatch, over all micro-batches and processes.
        aggregation: token_mean or sequence_mean.

    Returns:
        float32 [sequences].
    """
    tokens, sequences = totals
    if aggregation == "token_mean":
        return torch.full(lengths.shape, 1.0 / tokens)
    return 1.0 / (lengths.float() * sequences)


def importance_weights(trainer: torch.Tensor, sampler: torch.Tensor, cap: float) -> torch.Tensor:
    """Truncated importance weights min(exp(log trainer - log sampler), cap), per token, without gradient."""
    return (trainer - sampler).exp().clamp(max=cap).detach()


@dataclass(frozen=True)
class TokenLoss:
    """Per-token parts of the loss, each [R].

    Attributes:
        loss: -J + beta KL, before weighting.
        kl: k3 estimate for the record, zeros where there is no reference.
        clipped: True where the clipped branch is the smaller one.
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
) -> TokenLoss:
    """Computes the loss of each token.

    Args:
        logprobs: [R] log-probabilities under the policy, with gradient.
        old_logprobs: [R] under the policy that sampled.
        reference: [R] under the initial policy; None when the KL coefficient is 0.
        advantages: [R], the advantage of each token's completion.
        objective: clip range, KL coefficient and estimator.
        importance: [R] weights of truncated importance sampling; None = off.
    """
    ratio = (logprobs - old_logprobs).exp()
    surrogate = ratio * advantages
    clipped_surrogate = ratio.clamp(1.0 - objective.clip_low, 1.0 + objective.clip_high) * advantages
    token_objective = torch.minimum(surrogate, clipped_surrogate)
    if importance is not None:
        token_objective = token_objective * importance
    loss = -token_objective
    kl = torch.zeros_like(loss)
    if reference is not None:
        loss = loss + objective.kl_coefficient * kl_penalty(logprobs, reference, objective.kl_estimator)
        kl = kl_penalty(logprobs.detach(), reference, "k3")
    return TokenLoss(loss, kl, (clipped_surrogate < surrogate).detach())
