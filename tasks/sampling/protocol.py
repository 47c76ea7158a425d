"""What a generation engine takes and gives. Torch-free, so that orchestration can build requests.

A request is one prompt; an engine answers with `n` completions for each, in the order of the requests. Every sampled
token's randomness derives from (seed, step, prompt id, sample index, position), see `tasks.sampling.seeds`, so that a
completion does not depend on what else is in the batch.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable


@dataclass(frozen=True)
class Request:
    """A prompt to complete.

    Attributes:
        prompt_id: stable name of the prompt; enters the seeds.
        tokens: prompt token ids.
    """

    prompt_id: str
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class SamplingSettings:
    """How completions are sampled.

    Attributes:
        n: completions per prompt.
        temperature: 0 is greedy.
        top_p: nucleus; 1.0 keeps the whole vocabulary.
        max_tokens: longest completion, tokens, end-of-sequence counted.
        seed: the run's seed.
        step: training step (0 before training); evaluation uses its own seed domain, see `seed_domain`.
        seed_domain: keeps rollouts and evaluations of one seed and step apart.
    """

    n: int
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    step: int = 0
    seed_domain: Literal["rollout", "heldout", "evaluate"] = "rollout"


@dataclass(frozen=True)
class GenerationBatch:
    """Requests that share their sampling settings."""

    requests: Sequence[Request]
    settings: SamplingSettings


@dataclass(frozen=True)
class Completion:
    """One sampled completion.

    Attributes:
        tokens: token ids, the end-of-sequence token included where it was sampled.
        logprobs: log-probability of each token under the policy at temperature 1 and without top-p, nats.
        finish_reason: `stop` where end-of-sequence was sampled, `length` where the limit cut it.
    """

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: Literal["stop", "length"]


class Engine(Protocol):
    """A generation engine holding one model's weights; engines inherit `release` and `restarted` as they stand here."""

    name: str

    def generate(self, requests: Sequence[Request], settings: SamplingSettings) -> list[list[Completion]]:
        """Completes each request `settings.n` times; order of requests and sample indices is kept.

        Raises:
            InputError: a prompt and its completion do not fit the model's context; the prompt is named.
        """

    def load(self, checkpoint: Path) -> str:
        """Replaces the weights by those of a checkpoint of the same architecture; returns `fingerprint()`."""

    def update(self, weights: Iterable[tuple[str, Any]]) -> str:
        """Replaces the weights by named tensors, a whole state dict; returns `fingerprint()`.

        Raises:
            RuntimeError: a tensor is missing or of another shape; the old weights must not be used on.
        """

    def fingerprint(self) -> str:
        """Digest of the weights the engine would sample with now."""

    def release(self) -> None:
        """Lends the device's memory to a trainer until the next `update` or `load`; nothing where none is shared."""
        return

    @property
    def restarted(self) -> bool:
        """Whether the engine has been replaced after a loss, so that a next run should not rely on it."""
        return False

    def close(self) -> None:
        """Frees memory and processes."""


@runtime_checkable
class StreamingEngine(Protocol):
    """An engine that samples batches with different settings together and returns prompts as they finish."""

    def stream(self, batches: Sequence[GenerationBatch]) -> Iterator[tuple[int, int, list[Completion]]]:
        """Yields (index of the batch, index of the request within it, its completions), in order of completion."""


def in_order(
    engine: StreamingEngine, requests: Sequence[Request], settings: SamplingSettings
) -> list[list[Completion]]:
    """One batch's completions in the order of its requests, from an engine that returns them as they finish."""
    completions: list[list[Completion]] = [[] for _ in requests]
    for _, index, finished in engine.stream([GenerationBatch(requests, settings)]):
        completions[index] = finished
    return completions
