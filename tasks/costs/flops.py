"""Floating-point operations of a dense transformer, counted from its shape. Pure arithmetic, no torch.

A multiply-add counts as two. For T rows, A attended (query, key) pairs and R predicted tokens, a forward pass costs

    2 T (matrix weights of all layers) + 4 A heads head_size layers + 2 R hidden vocabulary

Backward costs twice the forward. `C = 6 N T`, the published count, leaves out attention and the output layer and
counts training alone; both are recorded side by side. Norms, softmax and rotations are left out (below 1 %).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Architecture:
    """The shape of a Qwen2-like decoder.

    Attributes:
        hidden: width.
        layers: number of layers.
        heads: query heads.
        kv_heads: key and value heads.
        head_size: width of a head.
        ffn: width of the gated feed-forward layer.
        vocabulary: rows of the embedding.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    ffn: int
    vocabulary: int

    @property
    def matrix_weights(self) -> int:
        """Weights of all matrix products of the layers: attention projections and feed-forward."""
        attention = self.hidden * self.head_size * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.ffn)

    @property
    def n_params(self) -> int:
        """Non-embedding parameters N: matrix weights, query/key/value biases and norms."""
        biases = self.layers * self.head_size * (self.heads + 2 * self.kv_heads)
        return self.matrix_weights + biases + (2 * self.layers + 1) * self.hidden

    def forward(self, rows: int, attended: int, predicted: int) -> float:
        """FLOPs of a forward pass over `rows` tokens with `attended` (query, key) pairs and `predicted` outputs."""
        layers = 2.0 * rows * self.matrix_weights + 4.0 * attended * self.heads * self.head_size * self.layers
        return layers + self.head(predicted)

    def head(self, predicted: int) -> float:
        """FLOPs of the output layer alone."""
        return 2.0 * predicted * self.hidden * self.vocabulary

    def update(self, rows: int, attended: int, predicted: int, checkpointed: bool = False) -> float:
        """FLOPs of forward and backward; the chunked output layer is computed once more, as are checkpointed layers."""
        forward = self.forward(rows, attended, predicted)
        again = forward - self.head(predicted) if checkpointed else 0.0
        return 3.0 * forward + self.head(predicted) + again

    def generate(self, sequences: Iterable[tuple[int, Iterable[int]]]) -> float:
        """FLOPs of sampling: each prompt is encoded once, each completion token but the last is fed once.

        Args:
            sequences: (prompt length, completion lengths) per prompt.
        """
        rows = attended = predicted = 0
        for prompt, completions in sequences:
            rows += prompt
            attended += prompt * (prompt + 1) // 2
            for length in completions:
                fed = length - 1
                rows += fed
                attended += fed * prompt + fed * (fed + 1) // 2
                predicted += length
        return self.forward(rows, attended, predicted)


def published_compute(n_params: float, tokens: float) -> float:
    """C = 6 N T, FLOPs: N parameters, T prompt and completion tokens of training (arXiv 2509.25300)."""
    return 6.0 * n_params * tokens
