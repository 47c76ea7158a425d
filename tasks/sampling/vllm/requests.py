"""Between the program's requests and vLLM's: sampling parameters out, completions in."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.sampling.protocol import Completion, GenerationBatch, SamplingSettings
from tasks.sampling.seeds import request_seed, sequence_key
from tasks.sampling.vllm.options import KEY, TEMPERATURE, TOP_P
from tasks.sampling.vllm.weights import read_config
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
    fields = sampling_fields(settings, request_seed(settings, request.prompt_id, index.sample), stop_token_ids)
    fields |= {"detokenize": False, "flat_logprobs": True, "skip_clone": True}
    if counter_based and settings.temperature > 0.0:
        key = sequence_key(settings, request.prompt_id, index.sample)
        fields["extra_args"] = {KEY: key, TEMPERATURE: settings.temperature, TOP_P: settings.top_p}
        fields |= {"temperature": 0.0, "top_p": 1.0}
    return SamplingParams(**fields)


def sampling_fields(settings: SamplingSettings, seed: int, stop_token_ids: list[int]) -> dict[str, Any]:
    """Every field that decides what is sampled, under the names that `SamplingParams` and vLLM's servers share.

    None is left to a default: a server takes what a request does not say from the model's `generation_config.json`,
    which for instruct models names a top-k and a repetition penalty.
    """
    return {
        "n": 1,
        "max_tokens": settings.max_tokens,
        "min_tokens": 0,
        "temperature": settings.temperature,
        "top_p": settings.top_p,
        "top_k": 0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "seed": seed,
        "stop_token_ids": stop_token_ids,
        "ignore_eos": False,
        "logprobs": 0,
    }


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


def stop_token_ids(checkpoint: Path) -> list[int]:
    """End-of-sequence ids of a checkpoint: of the generation config where there is one, else of the model config."""
    path = checkpoint / "generation_config.json"
    generation_eos = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
    eos = generation_eos if generation_eos is not None else read_config(checkpoint).get("eos_token_id")
    return [eos] if isinstance(eos, int) else list(eos or [])
