"""One step's optimiser updates: reference and old log-probabilities, minibatches, guards."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator

from tasks.params import Objective
from tasks.policy.packing import Packed
from tasks.train.batching import MicroBatch
from tasks.train.distributed import Spread
from tasks.train.objective import importance_weights, token_losses


class TrainingDiverged(RuntimeError):
    """Loss or gradient is not finite; the message names step, batch and the last good checkpoint."""


@dataclass
class UpdateTotals:
    """Sums over a step's tokens on one process, reduced over processes at the end.

    Attributes:
        tokens: completion tokens.
        loss: weighted loss summed over minibatches.
        kl: sum of the k3 estimate over tokens.
        surprise: sum of -log pi_old over tokens.
        clipped: tokens on the clipped branch.
        mismatch: sum of the k3 estimate between sampler and trainer over compared tokens.
        outside: compared tokens whose sampler/trainer ratio is outside [0.9, 1.1].
        compared: tokens compared.
        grad_norms: global gradient norm of each update, equal on all processes.
    """

    tokens: float = 0.0
    loss: float = 0.0
    kl: float = 0.0
    surprise: float = 0.0
    clipped: float = 0.0
    mismatch: float = 0.0
    outside: float = 0.0
    compared: float = 0.0
    grad_norms: list[float] = field(default_factory=list)

    NAMES = ("tokens", "loss", "kl", "surprise", "clipped", "mismatch", "outside", "compared")

    def reduce(self, accelerator: Accelerator) -> UpdateTotals:
        """Sums over processes."""
        values = torch.tensor([getattr(self, name) for name in self.NAMES], dtype=torch.float64)
        values = accelerator.reduce(values.to(accelerator.device), "sum")
        return UpdateTotals(**dict(zip(self.NAMES, values.tolist(), strict=True)), grad_norms=self.grad_norms)


@dataclass(frozen=True)
class Updater:
    """What an update needs besides the data.

    Attributes:
        spread: the processes and how the policy lies on them.
        policy: the prepared policy.
        reference: log-probabilities under the frozen initial policy; None when the KL coefficient is 0.
        optimizer: the prepared optimiser.
        objective: clip range, KL, aggregation.
        temperature: of the rollouts; log-probabilities are taken at it.
        exact_sampler: the sampler's log-probabilities are the trainer's own, so they serve as old ones.
        grad_clip: global gradient norm is clipped to it.
    """

    spread: Spread
    policy: torch.nn.Module
    reference: Callable[[Packed, float], torch.Tensor] | None
    optimizer: torch.optim.Optimizer
    objective: Objective
    temperature: float
    exact_sampler: bool
    grad_clip: float

    def step(self, minibatches: Sequence[list[MicroBatch]], where: str) -> UpdateTotals:
        """Goes once over the minibatches.

        Args:
            minibatches: this process's micro-batches, minibatch by minibatch; equally many on every process.
            where: names the step and its problems, for the guard's message.

        Raises:
            TrainingDiverged: a loss or gradient is NaN or infinite; the weights are those before that update.
        """
        totals = UpdateTotals()
        olds = [[self._old(micro, totals) for micro in minibatch] for minibatch in minibatches]
        for index, (minibatch, old) in enumerate(zip(minibatches, olds, strict=True)):
            self.optimizer.zero_grad(set_to_none=True)
            compare = index == 0 and self.exact_sampler
            for position, (micro, old_logp) in enumerate(zip(minibatch, old, strict=True)):
                with self.spread.accumulate(self.policy, last=position == len(minibatch) - 1):
                    loss = self._loss(micro, old_logp, totals, compare)
                    self.spread.accelerator.backward(loss * self.spread.world)
            norm = self.spread.clip(self.policy, self.grad_clip)
            if not math.isfinite(norm) or not math.isfinite(totals.loss):
                raise TrainingDiverged(f"{where}: loss {totals.loss}, gradient norm {norm} in update {index + 1}")
            self.optimizer.step()
            totals.grad_norms.append(norm)
        return totals.reduce(self.spread.accelerator)

    def _old(self, micro: MicroBatch, totals: UpdateTotals) -> torch.Tensor:
        """Old log-probabilities: the sampler's where it is exact, else the policy's own before any update."""
        if self.exact_sampler:
            return micro.sampled
        with torch.no_grad():
            old = self.policy(micro.packed, self.temperature)
        if micro.live:
            _compare(old, micro.sampled, totals)
        return old

    def _loss(self, micro: MicroBatch, old: torch.Tensor, totals: UpdateTotals, compare: bool) -> torch.Tensor:
        reference = None
        if self.reference is not None:
            with torch.no_grad():
                reference = self.reference(micro.packed, self.temperature)
        cap = self.objective.importance_cap
        importance = None if cap is None else importance_weights(old, micro.sampled, cap)
        logp = self.policy(micro.packed, self.temperature)
        pieces = token_losses(logp, old, reference, micro.advantages, self.objective, importance)
        loss = (pieces.loss * micro.weights).sum()
        live = micro.weights > 0
        totals.tokens += int(live.sum())
        totals.loss += float(loss.detach())
        totals.kl += float(pieces.kl[live].sum())
        totals.surprise -= float(old[live].sum())
        totals.clipped += float(pieces.clipped[live].sum())
        if compare and micro.live:
            _compare(logp.detach(), micro.sampled, totals)
        return loss


def _compare(trainer: torch.Tensor, sampler: torch.Tensor, totals: UpdateTotals) -> None:
    """Adds how far the sampler's log-probabilities are from the trainer's."""
    d = trainer - sampler
    totals.mismatch += float((torch.expm1(d) - d).sum())
    totals.outside += float(((d.exp() < 0.9) | (d.exp() > 1.1)).sum())
    totals.compared += d.numel()
