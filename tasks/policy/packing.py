"""Padding-free batches: prompts and completions laid end to end in one row of tokens.

A group's prompt is laid out once and its completions follow, each attending to the prompt and to itself, never to one
another:

    tokens      p0 p1 p2 | a0 a1 | b0 b1 b2 |        completion a = a0 a1 a2, b = b0 b1 b2 b3
    positions    0  1  2 |  3  4 |  3  4  5 |        (a completion's last token is predicted, never an input)

Difference from the textbook: frameworks pad every (prompt, completion) pair to the longest, or pack the pairs and
compute the prompt G times. `share_prefix=False` gives the latter, for comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch


@dataclass(frozen=True)
class PromptGroup:
    """A prompt and its completions, as token ids."""

    prompt: tuple[int, ...]
    completions: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class PaddedBlock:
    """Sequences attended together, padded to one shape.

    Attributes:
        q_rows: int64 [B, Lq], rows of the packed tokens that are queries; padding repeats row 0.
        k_rows: int64 [B, Lk], rows that are keys; padding repeats row 0.
        mask: bool [B, 1, Lq, Lk], True where a query attends; None = plain causal, no padding.
    """

    q_rows: torch.Tensor
    k_rows: torch.Tensor
    mask: torch.Tensor | None


@dataclass(frozen=True)
class VarlenPlan:
    """Who attends to whom, for kernels that take sequences of any length; queries are the packed rows in order.

    Attributes:
        k_rows: int64 [K], the rows that are keys, sequence after sequence: a prefix, then the sequence itself.
        cu_seqlens_q: int32 [S + 1], where each sequence's queries begin and end.
        cu_seqlens_k: int32 [S + 1], where its keys do.
        max_seqlen_q: queries of the longest sequence.
        max_seqlen_k: keys of the longest sequence.
    """

    k_rows: torch.Tensor
    cu_seqlens_q: torch.Tensor
    cu_seqlens_k: torch.Tensor
    max_seqlen_q: int
    max_seqlen_k: int

    def to(self, device: torch.device) -> VarlenPlan:
        """Moves the plan to a device."""
        moved = {name: getattr(self, name).to(device) for name in ("k_rows", "cu_seqlens_q", "cu_seqlens_k")}
        return replace(self, **moved)


@dataclass(frozen=True)
class PackedBatch:
    """A packed batch of T rows with R predicted tokens.

    Attributes:
        input_ids: int64 [T].
        position_ids: int64 [T], restarting at 0 with each prompt.
        padded_blocks: who attends to whom; none where `varlen` says it.
        unpack_index: int64 [T], where each row's attention output lies in the blocks' outputs laid end to end.
        varlen: who attends to whom, for variable-length kernels; None: `padded_blocks`.
        logit_rows: int64 [R], the row whose output predicts each completion token.
        targets: int64 [R], the completion tokens, completion after completion.
        completion_index: int64 [R], index of the completion each target belongs to.
        completions: number of completions.
        attended_pairs: sum over rows of the number of keys each sees, for the FLOPs ledger.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    padded_blocks: tuple[PaddedBlock, ...]
    unpack_index: torch.Tensor
    logit_rows: torch.Tensor
    targets: torch.Tensor
    completion_index: torch.Tensor
    completions: int
    attended_pairs: int
    varlen: VarlenPlan | None = None

    def to(self, device: torch.device) -> PackedBatch:
        """Moves the batch to a device."""
        if device.type == "cpu":
            return self
        blocks = tuple(
            PaddedBlock(b.q_rows.to(device), b.k_rows.to(device), None if b.mask is None else b.mask.to(device))
            for b in self.padded_blocks
        )
        names = ("input_ids", "position_ids", "unpack_index", "logit_rows", "targets", "completion_index")
        moved = {name: getattr(self, name).to(device) for name in names}
        varlen = None if self.varlen is None else self.varlen.to(device)
        return replace(self, padded_blocks=blocks, varlen=varlen, **moved)


@dataclass
class _Span:
    """Consecutive rows that are queries; their keys are a prefix's rows, then their own."""

    start: int
    length: int
    prefix_start: int = 0
    prefix_length: int = 0


def pack(groups: Sequence[PromptGroup], share_prefix: bool = True, varlen: bool = False) -> PackedBatch:
    """Lays groups end to end.

    Args:
        groups: prompts with their completions; every prompt and completion has at least one token.
        share_prefix: compute a prompt once per group (True) or once per completion.
        varlen: plan the attention for a variable-length kernel instead of padded blocks.

    Returns:
        The packed batch, on the CPU.
    """
    if not share_prefix:
        groups = [PromptGroup(group.prompt, (completion,)) for group in groups for completion in group.completions]
    tokens: list[int] = []
    positions: list[np.ndarray] = []
    logit_rows: list[np.ndarray] = []
    targets: list[int] = []
    lengths: list[int] = []
    prompts: list[_Span] = []
    spans: list[_Span] = []
    for group in groups:
        start, size = len(tokens), len(group.prompt)
        tokens.extend(group.prompt)
        positions.append(np.arange(size))
        prompts.append(_Span(start, size))
        for completion in group.completions:
            row, num_inputs = len(tokens), len(completion) - 1
            tokens.extend(completion[:-1])
            positions.append(np.arange(size, size + num_inputs))
            if num_inputs:
                spans.append(_Span(row, num_inputs, start, size))
            logit_rows.append(np.concatenate(([start + size - 1], np.arange(row, row + num_inputs))))
            targets.extend(completion)
            lengths.append(len(completion))
    all_spans = [*prompts, *spans]
    blocks, unpack_index = ((), torch.empty(0, dtype=torch.int64)) if varlen else _plan(prompts, spans, len(tokens))
    return PackedBatch(
        input_ids=torch.tensor(tokens, dtype=torch.int64),
        position_ids=torch.from_numpy(np.concatenate(positions)),
        padded_blocks=blocks,
        unpack_index=unpack_index,
        logit_rows=torch.from_numpy(np.concatenate(logit_rows)),
        targets=torch.tensor(targets, dtype=torch.int64),
        completion_index=torch.from_numpy(np.repeat(np.arange(len(lengths)), lengths)),
        completions=len(lengths),
        attended_pairs=sum(s.length * s.prefix_length + s.length * (s.length + 1) // 2 for s in all_spans),
        varlen=_varlen_plan(sorted(all_spans, key=lambda span: span.start)) if varlen else None,
    )


def _varlen_plan(spans: list[_Span]) -> VarlenPlan:
    """The variable-length plan; spans follow each other without gaps, so that queries need no gathering."""
    key_rows: list[np.ndarray] = []
    for span in spans:
        key_rows.append(np.arange(span.prefix_start, span.prefix_start + span.prefix_length))
        key_rows.append(np.arange(span.start, span.start + span.length))
    q_lengths = [span.length for span in spans]
    k_lengths = [span.prefix_length + span.length for span in spans]

    def bounds(lengths: list[int]) -> torch.Tensor:
        return torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)

    k_rows = torch.from_numpy(np.concatenate(key_rows))
    return VarlenPlan(k_rows, bounds(q_lengths), bounds(k_lengths), max(q_lengths), max(k_lengths))


def _plan(prompts: list[_Span], spans: list[_Span], rows: int) -> tuple[tuple[PaddedBlock, ...], torch.Tensor]:
    """Builds the attention blocks and where each row's output lies in them."""
    blocks: list[PaddedBlock] = []
    unpack_index = np.zeros(rows, dtype=np.int64)
    offset = 0
    for spanned in (*_buckets(prompts), *_buckets(spans)):
        start, length, prefix_start, prefix = (
            np.array([getattr(span, name) for span in spanned])[:, None]
            for name in ("start", "length", "prefix_start", "prefix_length")
        )
        width, before = int(length.max()), int(prefix.max())
        column = np.arange(width)[None, :]
        real = column < length
        q_rows = np.where(real, start + column, 0)
        unpack_index[q_rows[real]] = offset + np.flatnonzero(real)
        offset += real.size
        ahead = np.arange(before)[None, :]
        k_rows = np.concatenate((np.where(ahead < prefix, prefix_start + ahead, 0), q_rows), axis=1)
        blocks.append(PaddedBlock(torch.from_numpy(q_rows), torch.from_numpy(k_rows), _mask(length, prefix)))
    return tuple(blocks), torch.from_numpy(unpack_index)


def _mask(length: np.ndarray, prefix: np.ndarray) -> torch.Tensor | None:
    """Which keys each query of a block attends to; padded queries have key 0, so that no row of the mask is empty."""
    width, before = int(length.max()), int(prefix.max())
    if before == 0 and length.min() == width:
        return None
    column = np.arange(width)
    causal = (column[None, :, None] >= column[None, None, :]) & (column[None, None, :] < length[:, :, None])
    ahead = np.broadcast_to((np.arange(before)[None, :] < prefix)[:, None, :], (len(length), width, before))
    mask = np.concatenate((ahead, causal), axis=2)
    mask[:, :, 0] |= ~mask.any(axis=2)
    return torch.from_numpy(mask[:, None])


def _buckets(spans: list[_Span], waste: float = 1.25) -> list[list[_Span]]:
    """Sorts spans by size and cuts them: a bucket's padding is below a quarter of its work, or too little to matter."""
    if not spans:
        return []
    ordered = sorted(spans, key=lambda span: (span.length * (span.prefix_length + span.length), span.start))
    buckets: list[list[_Span]] = [[]]
    real = 0
    width = before = 0
    for span in ordered:
        width, before = max(width, span.length), max(before, span.prefix_length)
        real += span.length * (span.prefix_length + span.length)
        padded = (len(buckets[-1]) + 1) * width * (before + width)
        if padded > waste * real and padded - real > _CALL_COST:
            buckets.append([])
            width, before = span.length, span.prefix_length
            real = span.length * (span.prefix_length + span.length)
        buckets[-1].append(span)
    return buckets


_CALL_COST = 1 << 14
"""Padded (query, key) pairs that cost less than the kernel calls of another bucket."""
