"""The compute ledger of a step: FLOPs by phase from real packed lengths, see `tasks.costs.flops` for the formulas."""

from __future__ import annotations

from collections.abc import Sequence

from tasks.costs.flops import Architecture
from tasks.sampling.protocol import Completion, Request
from tasks.train.batching import MicroBatch

PHASES = ("rollout", "reference", "old", "update", "evaluation")


def sampling_flops(
    architecture: Architecture, requests: Sequence[Request], completions: Sequence[Sequence[Completion]]
) -> float:
    """FLOPs of sampling these completions."""
    pairs = zip(requests, completions, strict=True)
    return architecture.generate((len(r.tokens), [len(c.tokens) for c in row]) for r, row in pairs)


def update_flops(
    architecture: Architecture, minibatches: Sequence[Sequence[MicroBatch]], passes: dict[str, bool], checkpointed: bool
) -> dict[str, float]:
    """FLOPs of a step's update phases.

    Args:
        architecture: shape of the model.
        minibatches: the micro-batches computed; padding, which gives every rank the same number of
            collective calls, is left out.
        passes: whether a `reference` and an `old` pass are made.
        checkpointed: whether activations are recomputed.
    """
    sizes = _sizes(minibatches)
    forward = sum(architecture.forward(*size) for size in sizes)
    update = sum(architecture.update(*size, checkpointed) for size in sizes)
    return {"update": update} | {name: forward if on else 0.0 for name, on in passes.items()}


def model_flops(
    architecture: Architecture, minibatches: Sequence[Sequence[MicroBatch]], passes: dict[str, bool]
) -> float:
    """FLOPs that the update phase cannot do without: forward, backward and its other passes, nothing recomputed.

    Over (seconds x devices x their peak) they are the model FLOPs utilisation, MFU (PaLM, arXiv 2204.02311, app. B).
    """
    forward = sum(architecture.forward(*size) for size in _sizes(minibatches))
    return forward * (3 + sum(passes.values()))


def _sizes(minibatches: Sequence[Sequence[MicroBatch]]) -> list[tuple[int, int, int]]:
    """(rows, attended pairs, predicted tokens) of every micro-batch that counts."""
    micros = [micro.packed for minibatch in minibatches for micro in minibatch if not micro.is_padding]
    return [(packed.input_ids.numel(), packed.attended_pairs, packed.targets.numel()) for packed in micros]
