"""One step's optimiser updates: reference and old log-probabilities, minibatches, guards."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from accelerate import Accelerator

from tasks.policy.packing import PackedBatch
from tasks.study.params import Objective, Optimizer
from tasks.train.batching import MicroBatch
from tasks.train.objective import importance_weights, token_losses
from tasks.train.parallel import ParallelContext


class TrainingDiverged(RuntimeError):
    """Loss or gradient is not finite; the message names step, batch and the last good checkpoint."""


@dataclass(frozen=True)
class UpdateTotals:
    """Sums over a step's tokens, over all processes.

    Attributes:
        tokens: completion tokens.
        loss: weighted loss summed over minibatches.
        kl: sum of the k3 estimate over tokens.
        neg_logprob_sum: sum of -log pi_old over tokens.
        clipped: tokens on the clipped branch.
        mismatch_kl_sum: sum of the k3 estimate between sampler and trainer over compared tokens.
        ratio_out_of_band: compared tokens whose sampler/trainer ratio is outside [0.9, 1.1].
        num_compared: tokens compared.
        grad_norms: global gradient norm of each update.
    """

    tokens: float
    loss: float
    kl: float
    neg_logprob_sum: float
    clipped: float
    mismatch_kl_sum: float
    ratio_out_of_band: float
    num_compared: float
    grad_norms: tuple[float, ...]


class RunningTotals:
    """One process's sums while a step runs; they stay on the device, so that no micro-batch waits for it."""

    NAMES = tuple(field.name for field in fields(UpdateTotals) if field.name != "grad_norms")

    def __init__(self, device: torch.device) -> None:
        """All sums are zero."""
        self.sums = {name: torch.zeros((), dtype=torch.float64, device=device) for name in self.NAMES}

    def add(self, **values: torch.Tensor) -> None:
        """Adds to sums by name."""
        for name, value in values.items():
            self.sums[name] += value.detach()

    def compare(self, trainer: torch.Tensor, sampler: torch.Tensor) -> None:
        """Adds how far the sampler's log-probabilities are from the trainer's."""
        d = trainer - sampler
        ratio = d.exp()
        self.add(
            mismatch_kl_sum=(torch.expm1(d) - d).sum(),
            ratio_out_of_band=((ratio < 0.9) | (ratio > 1.1)).sum(),
            num_compared=torch.tensor(d.numel()),
        )

    def reduce(self, accelerator: Accelerator, grad_norms: Sequence[float]) -> UpdateTotals:
        """Sums over processes; every process's norms are the same."""
        values = accelerator.reduce(torch.stack(list(self.sums.values())), "sum").tolist()
        return UpdateTotals(**dict(zip(self.NAMES, values, strict=True)), grad_norms=tuple(grad_norms))


@dataclass(frozen=True)
class PolicyUpdater:
    """What an update needs besides the data.

    Attributes:
        parallel: the processes and how the policy is distributed over them.
        policy: the prepared policy.
        reference: log-probabilities under the frozen initial policy; None when the KL coefficient is 0.
        optimizer: the prepared optimiser.
        objective: clip range, KL, aggregation.
        temperature: of the rollouts; log-probabilities are taken at it.
        sampler_is_exact: the sampler's log-probabilities are the trainer's own, so they serve as old ones.
        settings: learning rate, its warm-up, and what the global gradient norm is clipped to.
    """

    parallel: ParallelContext
    policy: torch.nn.Module
    reference: Callable[[PackedBatch, float], torch.Tensor] | None
    optimizer: torch.optim.Optimizer
    objective: Objective
    temperature: float
    sampler_is_exact: bool
    settings: Optimizer

    def step(self, minibatches: Sequence[list[MicroBatch]], number: int, label: str) -> UpdateTotals:
        """Goes once over the minibatches.

        Args:
            minibatches: this process's micro-batches, minibatch by minibatch; equally many on every process.
            number: of the training step, from 1.
            label: names the step and its problems, for the guard's message.

        Raises:
            TrainingDiverged: a loss or gradient is NaN or infinite; the weights are those before that update.
        """
        totals, grad_norms = RunningTotals(self.parallel.accelerator.device), []
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.learning_rate * warmup_factor(number, self.settings.warmup_steps)
        old_logprobs = [[self._old_logprobs(micro, totals) for micro in minibatch] for minibatch in minibatches]
        for index, (minibatch, old) in enumerate(zip(minibatches, old_logprobs, strict=True)):
            self.optimizer.zero_grad(set_to_none=True)
            compare = index == 0 and self.sampler_is_exact
            for position, (micro, old_logp) in enumerate(zip(minibatch, old, strict=True)):
                with self.parallel.grad_sync(self.policy, last=position == len(minibatch) - 1):
                    loss = self._loss(micro, old_logp, totals, compare)
                    self.parallel.accelerator.backward(loss * self.parallel.world_size)
            norm = self.parallel.clip_grad_norm(self.policy, self.settings.grad_clip)
            loss_sum = float(totals.sums["loss"])
            if not math.isfinite(norm) or not math.isfinite(loss_sum):
                raise TrainingDiverged(f"{label}: loss {loss_sum}, gradient norm {norm} in update {index + 1}")
            self.optimizer.step()
            grad_norms.append(norm)
        self.optimizer.zero_grad(set_to_none=True)  # a sampler on the same device gets the gradients' memory
        return totals.reduce(self.parallel.accelerator, grad_norms)

    def _old_logprobs(self, micro: MicroBatch, totals: RunningTotals) -> torch.Tensor:
        """Old log-probabilities: the sampler's where it is exact, else the policy's own before any update."""
        if self.sampler_is_exact:
            return micro.sampler_logprobs
        with torch.no_grad():
            old = self.policy(micro.packed, self.temperature)
        if not micro.is_padding:
            totals.compare(old, micro.sampler_logprobs)
        return old

    def _loss(self, micro: MicroBatch, old: torch.Tensor, totals: RunningTotals, compare: bool) -> torch.Tensor:
        """A micro-batch's part of the objective, sum_t w_t loss_t (a scalar with its graph).

        Args:
            micro: tokens, advantages and weights w_t, the minibatch's token mean already in them [tokens].
            old: log-probs of the policy that sampled [tokens].
            totals: takes the sums behind the step's metrics.
            compare: whether the sampler's log-probs are compared with the policy's of this pass.
        """
        reference = None
        if self.reference is not None:
            with torch.no_grad():
                reference = self.reference(micro.packed, self.temperature)
        cap = self.objective.importance_cap
        importance = None if cap is None else importance_weights(old, micro.sampler_logprobs, cap)
        weighted = micro.loss_weights > 0
        logp, entropy = self._logprobs_and_entropy(micro.packed)
        sequence = micro.packed.completion_index
        terms = token_losses(logp, old, reference, micro.advantages, self.objective, importance, sequence)
        loss = (terms.loss * micro.loss_weights).sum()
        if entropy is not None:
            loss = loss - self.objective.entropy_coefficient * micro.token_share * (entropy * weighted).sum()
        totals.add(
            tokens=weighted.sum(),
            loss=loss,
            kl=(terms.kl * weighted).sum(),
            neg_logprob_sum=-(old * weighted).sum(),
            clipped=(terms.clipped & weighted).sum(),
        )
        if compare and not micro.is_padding:
            totals.compare(logp.detach(), micro.sampler_logprobs)
        return loss

    def _logprobs_and_entropy(self, packed: PackedBatch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Log-probs [R] and, only where the objective has a bonus for them, entropies [R], both with their graph."""
        if self.objective.entropy_coefficient == 0.0:
            return self.policy(packed, self.temperature), None
        logprobs, entropy = self.policy(packed, self.temperature, with_entropy=True)
        return logprobs, entropy


def warmup_factor(step: int, warmup_steps: int) -> float:
    """What the learning rate of a step, counted from 1, is multiplied by: linear up to 1 at `warmup_steps`."""
    return min(1.0, step / warmup_steps) if warmup_steps else 1.0
