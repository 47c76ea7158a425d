"""How many rows of logits exist at once: what `tasks.policy.logprobs` computes and a memory estimate counts."""

from __future__ import annotations

CHUNK_ELEMENTS = 1 << 25
"""Logits at once on a CPU, 128 MiB in float32; on a GPU at least as many."""
GPU_ROWS = 2048
"""Rows at once on a GPU at least: every chunk reads and writes the whole float32 gradient of the output layer, 5 GB
for a vocabulary of 152 k and a width of 8,192."""


def logit_rows(vocab_size: int, gpu: bool) -> int:
    """Rows of logits computed at once."""
    return max(GPU_ROWS if gpu else 1, CHUNK_ELEMENTS // vocab_size)
