"""A running vLLM server as an engine: `rlscale evaluate --server URL`, or `hardware.vllm.mode: server`.

Every sequence is a request of its own with its own seed. vLLM's generator samples (a server may be anybody's, so it
need not know this program's randomness): results are reproducible, but not equal to the other engines'.

A server somebody started serves one policy, and only that policy is evaluated: its name or path must be the run's.
A server of our own takes new weights, see `weight_update`. Start either with `--generation-config vllm`: a request
says every field that decides what is sampled, but what this program does not know of would come from the model's file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from tasks.sampling.protocol import Completion, Engine, GenerationBatch, Request, SamplingSettings, in_order
from tasks.sampling.seeds import request_seed
from tasks.sampling.vllm.requests import (
    SequenceIndex,
    check_lengths,
    sampling_fields,
    sequence_indices,
    stop_token_ids,
)
from tasks.sampling.vllm.server_http import RequestRejected, Server
from tasks.study.errors import InputError

MIN_IN_FLIGHT, MAX_IN_FLIGHT = 64, 1024
FILL = 4
"""Requests sent per sequence of full length that the server's cache holds: most completions are far shorter than their
limit, and what does not fit waits there."""


class ServerEngine(Engine):
    """A server that serves one policy; see `tasks.sampling.protocol.Engine`."""

    name = "vllm_server"

    def __init__(self, url: str, first_delay: float | None = None) -> None:
        """Asks the server what it serves.

        Raises:
            InputError: it does not answer, refuses the token or serves nothing.
        """
        self.server = Server(url, first_delay)
        try:
            models = self.server.get("/v1/models")["data"]
        except (RequestRejected, KeyError, TypeError) as error:
            raise InputError(f"{url}: not an OpenAI-compatible server ({error})") from None
        if not models:
            raise InputError(f"{url}: the server serves no model")
        self.model: dict[str, Any] = models[0]
        self._context = int(self.model.get("max_model_len") or 1 << 31)
        self._stops: list[int] = []

    def load(self, checkpoint: Path) -> str:
        """Checks that the server serves this policy; returns `fingerprint()`.

        Raises:
            InputError: it serves another one.
        """
        name = checkpoint.parent.name if checkpoint.name == "final" else checkpoint.name
        root = self.model.get("root")
        same_path = isinstance(root, str) and Path(root).exists() and Path(root).samefile(checkpoint)
        if self.model["id"] != name and not same_path:
            raise InputError(
                f"{self.server.url} serves {self.model['id']!r}, not {name}; "
                f"start it with `python -m vllm.entrypoints.openai.api_server {checkpoint} --served-model-name {name} "
                "--generation-config vllm`"
            )
        self._stops = stop_token_ids(checkpoint)
        return self.fingerprint()

    def update(self, weights: Iterable[tuple[str, Any]]) -> str:
        """Refused: a server that somebody else started keeps its weights.

        Raises:
            InputError: always; the message says which setting makes a server our own.
        """
        raise InputError(f"{self.server.url} takes no new weights; a server of our own is hardware.vllm.mode: server")

    def fingerprint(self) -> str:
        """The served model's name: a server does not tell its weights."""
        return f"server:{self.model['id']}"

    def generate(self, requests: Sequence[Request], settings: SamplingSettings) -> list[list[Completion]]:
        """Completes each request n times; see `tasks.sampling.protocol.Engine`."""
        return in_order(self, requests, settings)

    def stream(self, batches: Sequence[GenerationBatch]) -> Iterator[tuple[int, int, list[Completion]]]:
        """Samples batches, many requests at a time; see `tasks.sampling.protocol.StreamingEngine`.

        Raises:
            InputError: a prompt does not fit the context, or the server is gone.
        """
        check_lengths(batches, self._context)
        finished: dict[tuple[int, int], dict[int, Completion]] = {}
        with ThreadPoolExecutor(self._num_in_flight(batches), thread_name_prefix="vllm-server") as threads:
            futures: dict[Future[Completion], SequenceIndex] = {
                threads.submit(self._complete, batches[index.batch], index): index
                for index in sequence_indices(batches)
            }
            try:
                for future in as_completed(futures):
                    index = futures.pop(future)
                    samples = finished.setdefault((index.batch, index.request), {})
                    samples[index.sample] = future.result()
                    if len(samples) == batches[index.batch].settings.n:
                        yield index.batch, index.request, [samples[number] for number in sorted(samples)]
            finally:
                threads.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        """Nothing to stop: the server is not ours."""

    def _num_in_flight(self, batches: Sequence[GenerationBatch]) -> int:
        """Requests to send at a time, from the memory of the server's key-value cache."""
        longest = max((len(r.tokens) + b.settings.max_tokens for b in batches for r in b.requests), default=1)
        return min(max(FILL * self.server.cache_tokens() // longest, MIN_IN_FLIGHT), MAX_IN_FLIGHT)

    def _complete(self, batch: GenerationBatch, index: SequenceIndex) -> Completion:
        settings, request = batch.settings, batch.requests[index.request]
        body = {
            "model": self.model["id"],
            "prompt": list(request.tokens),
            "return_token_ids": True,
        }
        body |= sampling_fields(settings, request_seed(settings, request.prompt_id, index.sample), self._stops)
        try:
            choice = self.server.post("/v1/completions", body)["choices"][0]
        except RequestRejected as error:
            raise InputError(f"problem {request.prompt_id}: {error}") from None
        if choice.get("token_ids") is None or choice.get("logprobs") is None:
            raise InputError(f"{self.server.url}: the server returns no token ids; expected vLLM 0.10 or newer")
        return Completion(
            tokens=tuple(choice["token_ids"]),
            logprobs=tuple(choice["logprobs"]["token_logprobs"]),
            finish_reason="stop" if choice["finish_reason"] == "stop" else "length",
        )
