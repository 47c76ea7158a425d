"""Counter-based randomness for sampling: every token's uniform is a hash, never a stream.

    key(sequence)       = BLAKE2b-64(seed, domain, step, prompt id, sample index)
    uniform(key, t)     = top 53 bits of splitmix64(key + (t + 1) * golden) / 2^53

`t` is the position within the completion, so what is sampled depends on nothing else in the batch: not on its
size, order, sharding, or on what finished earlier. Not covered: the probabilities themselves come from matrix
products whose last bits may depend on the batch's shape; a uniform within about 1e-6 of a boundary may then fall on
the other side.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from tasks.sampling.protocol import SamplingSettings

if TYPE_CHECKING:
    import torch

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = 0xBF58476D1CE4E5B9
_MIX_2 = 0x94D049BB133111EB


def sequence_key(settings: SamplingSettings, prompt_id: str, sample: int) -> int:
    """Returns the 64-bit key of one completion, as a signed integer (torch has no unsigned arithmetic)."""
    text = f"{settings.seed}\x1f{settings.seed_domain}\x1f{settings.step}\x1f{prompt_id}\x1f{sample}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)


def request_seed(settings: SamplingSettings, prompt_id: str, sample: int) -> int:
    """Returns the same key as a non-negative 63-bit seed, for engines that take one seed per request."""
    return sequence_key(settings, prompt_id, sample) & 0x7FFF_FFFF_FFFF_FFFF


def uniforms(keys: torch.Tensor, position: int | torch.Tensor) -> torch.Tensor:
    """Returns one uniform per sequence.

    Args:
        keys: int64 [sequences], from `sequence_key`.
        position: index of the token within its completion; one for all, or int64 [sequences].

    Returns:
        float64 [sequences], in [0, 1).
    """
    import torch

    # Tensors wrap around by themselves; a Python integer has to be brought into range first.
    steps = (position + 1) * _signed(_GOLDEN)
    state = keys + (steps if isinstance(steps, torch.Tensor) else _signed(steps))
    state = (state ^ _shift(state, 30)) * _signed(_MIX_1)
    state = (state ^ _shift(state, 27)) * _signed(_MIX_2)
    state = state ^ _shift(state, 31)
    return _shift(state, 11).to(torch.float64) * 2.0**-53


def _signed(value: int) -> int:
    value &= 0xFFFF_FFFF_FFFF_FFFF
    return value - (1 << 64) if value >= 1 << 63 else value


def _shift(state: torch.Tensor, bits: int) -> torch.Tensor:
    """Logical right shift of int64."""
    return (state >> bits) & ((1 << (64 - bits)) - 1)
