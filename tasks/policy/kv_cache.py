"""The preallocated key-value cache of a batch that is decoded in this process."""

from __future__ import annotations

import torch


class KVCache:
    """Keys and values of a batch: [layers, sequences, kv heads, columns, head size] each."""

    def __init__(self, shape: tuple[int, ...], like: torch.Tensor) -> None:
        """Allocates once for the longest possible sequence."""
        self.keys = torch.empty(shape, dtype=like.dtype, device=like.device)
        self.values = torch.empty_like(self.keys)

    def select(self, rows: torch.Tensor) -> None:
        """Keeps (or repeats) these sequences."""
        self.keys = self.keys.index_select(1, rows)
        self.values = self.values.index_select(1, rows)


def prefill_mask(width: int, padding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What prompts padded on the left attend to.

    Args:
        width: columns, L.
        padding: int64 [B], how many columns are padding.

    Returns:
        Mask, bool [B, 1, L, L], where a padded column attends to itself alone; positions, int64 [B, L], 0 in padding.
    """
    column = torch.arange(width, device=padding.device)
    causal = column[:, None] >= column[None, :]
    real = column[None, :] >= padding[:, None]
    mask = (causal[None] & real[:, None, :]) | torch.eye(width, dtype=torch.bool, device=padding.device)
    return mask[:, None], (column[None, :] - padding[:, None]).clamp_(min=0)


def step_mask(column: int, padding: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The same for one more token written at `column`: bool [B, 1, 1, column + 1] and int64 [B, 1]."""
    mask = torch.arange(column + 1, device=padding.device)[None, :] >= padding[:, None]
    return mask[:, None, None, :], (column - padding)[:, None]
