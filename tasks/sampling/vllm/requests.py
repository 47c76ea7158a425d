"""Between the program's requests and vLLM's: sampling parameters out, completions in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.sampling.protocol import Completion, GenerationBatch
from tasks.sampling.seeds import request_seed, sequence_key
from tasks.sampling.vllm.options import KEY, TEMPERATURE, TOP_P
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams


@dataclass(frozen=True)
class SequenceIndex:
    """Where a sequence belongs: its batch, the request within it, and the sample."""

    batch: int
    request: int
    sample: int


def sequence_indices(batches: Sequence[GenerationBatch]) -> list[SequenceIndex]:
    """All sequences of some batches, in order."""
    return [
        SequenceIndex(number, request, sample)
        for number, batch in enumerate(batches)
        for request in range(len(batch.requests))
        for sample in range(batch.settings.n)
    ]


def sampling_params(
    batch: GenerationBatch, index: SequenceIndex, stop_token_ids: list[int], counter_based: bool
) -> SamplingParams:
    """vLLM's parameters of one sequence.

    Args:
        batch: where the sequence belongs.
        index: which one it is; enters the seed.
        stop_token_ids: token ids that end a completion.
        counter_based: whether the engine runs `CounterBasedSampler`; else the sequence carries a seed for vLLM's
            generator.
    """
    from vllm import SamplingParams

    settings, request = batch.settings, batch.requests[index.request]
    common: dict[str, Any] = {"max_tokens": settings.max_tokens, "logprobs": 0, "detokenize": False}
    common |= {"flat_logprobs": True, "stop_token_ids": stop_token_ids, "skip_clone": True}
    if settings.temperature == 0.0:
        return SamplingParams(temperature=0.0, **common)
    if counter_based:
        key = sequence_key(settings, request.prompt_id, index.sample)
        extra = {KEY: key, TEMPERATURE: settings.temperature, TOP_P: settings.top_p}
        return SamplingParams(temperature=0.0, extra_args=extra, **common)
    seed = request_seed(settings, request.prompt_id, index.sample)
    return SamplingParams(temperature=settings.temperature, top_p=settings.top_p, seed=seed, **common)


def completion_of(output: RequestOutput) -> Completion:
    """A finished request's completion, its end-of-sequence token included."""
    first = output.outputs[0]
    logprobs: Any = first.logprobs
    return Completion(
        tokens=tuple(first.token_ids),
        logprobs=tuple(logprobs.logprobs),
        finish_reason="stop" if first.finish_reason == "stop" else "length",
    )


def check_lengths(batches: Sequence[GenerationBatch], context: int) -> None:
    """Refuses what does not fit; vLLM would cut completions short silently.

    Raises:
        InputError: a prompt and its completion are longer than the context; the prompt is named.
    """
    for batch in batches:
        for request in batch.requests:
            if len(request.tokens) + batch.settings.max_tokens > context:
                raise InputError(
                    f"problem {request.prompt_id}: {len(request.tokens)} prompt tokens and "
                    f"{batch.settings.max_tokens} completion tokens do not fit the model's context of {context}"
                )


def stop_token_ids(checkpoint: Path, config: Mapping[str, Any]) -> list[int]:
    """End-of-sequence ids: of the generation config where there is one, else of the model config."""
    path = checkpoint / "generation_config.json"
    generation_eos = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
    eos = generation_eos if generation_eos is not None else config.get("eos_token_id")
    return [eos] if isinstance(eos, int) else list(eos or [])
