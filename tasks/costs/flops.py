"""Floating-point operations of a dense transformer, counted from its shape. Pure arithmetic, no torch.

A multiply-add counts as two. For T rows, A attended (query, key) pairs and R predicted tokens, a forward pass costs

    2 T (matrix weights of all layers) + 4 A heads head_dim layers + 2 R hidden_size vocab_size

Backward costs twice the forward. `C = 6 N T`, the published count, leaves out attention and the output layer and
counts training alone; both are recorded side by side. Norms, softmax and rotations are left out (below 1 %).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """The shape of a Qwen2-like decoder.

    Attributes:
        hidden_size: width.
        num_hidden_layers: number of layers.
        num_attention_heads: query heads.
        num_key_value_heads: key and value heads.
        head_dim: width of a head.
        intermediate_size: width of the gated feed-forward layer.
        vocab_size: rows of the embedding.
    """

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Architecture:
        """Reads the fields of a transformers `config.json`.

        Raises:
            KeyError: one is missing.
        """
        heads, hidden_size = config["num_attention_heads"], config["hidden_size"]
        return cls(
            hidden_size=hidden_size,
            num_hidden_layers=config["num_hidden_layers"],
            num_attention_heads=heads,
            num_key_value_heads=config.get("num_key_value_heads") or heads,
            head_dim=config.get("head_dim") or hidden_size // heads,
            intermediate_size=config["intermediate_size"],
            vocab_size=config["vocab_size"],
        )

    @property
    def matrix_weights(self) -> int:
        """Weights of all matrix products of the layers: attention projections and feed-forward."""
        attention = self.hidden_size * self.head_dim * (2 * self.num_attention_heads + 2 * self.num_key_value_heads)
        return self.num_hidden_layers * (attention + 3 * self.hidden_size * self.intermediate_size)

    @property
    def n_params(self) -> int:
        """Non-embedding parameters N: matrix weights, query/key/value biases and norms."""
        biases = self.num_hidden_layers * self.head_dim * (self.num_attention_heads + 2 * self.num_key_value_heads)
        return self.matrix_weights + biases + (2 * self.num_hidden_layers + 1) * self.hidden_size

    def forward(self, rows: int, attended: int, predicted: int) -> float:
        """FLOPs of a forward pass over `rows` tokens with `attended` (query, key) pairs and `predicted` outputs."""
        layers = (
            2.0 * rows * self.matrix_weights
            + 4.0 * attended * self.num_attention_heads * self.head_dim * self.num_hidden_layers
        )
        return layers + self.head(predicted)

    def head(self, predicted: int) -> float:
        """FLOPs of the output layer alone."""
        return 2.0 * predicted * self.hidden_size * self.vocab_size

    def update(self, rows: int, attended: int, predicted: int, checkpointed: bool = False) -> float:
        """FLOPs of forward and backward; the chunked output layer is computed once more, as are checkpointed layers."""
        forward = self.forward(rows, attended, predicted)
        again = forward - self.head(predicted) if checkpointed else 0.0
        return 3.0 * forward + self.head(predicted) + again

    def generate(self, sequences: Iterable[tuple[int, Iterable[int]]]) -> float:
        """FLOPs of sampling: each prompt is encoded once, each completion token but the last is an input once.

        Args:
            sequences: (prompt length, completion lengths) per prompt.
        """
        rows = attended = predicted = 0
        for prompt, completions in sequences:
            rows += prompt
            attended += prompt * (prompt + 1) // 2
            for length in completions:
                num_inputs = length - 1
                rows += num_inputs
                attended += num_inputs * prompt + num_inputs * (num_inputs + 1) // 2
                predicted += length
        return self.forward(rows, attended, predicted)


def published_compute(n_params: float, tokens: float) -> float:
    """C = 6 N T, FLOPs: N parameters, T prompt and completion tokens of training (arXiv 2509.25300)."""
    return 6.0 * n_params * tokens
