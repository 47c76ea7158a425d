"""The vLLM engine behind the program's protocol: one process per architecture, weights swapped in place.

Differences from using `vllm.LLM` directly:
- a checkpoint replaces the weights without a restart; the worker digests the tensors on their way into the model and
  a log-probability probe checks what the model then computes;
- randomness derives from (seed, step, prompt, sample, position), see `vllm_draws`;
- jobs with different settings share a batch, and prompts come back as they finish;
- a process that dies or hangs is replaced once, with the weights it held, and its open requests are asked again.

Not covered: quantised checkpoints, adapters that are not merged. Memory release (`release`), tensor parallelism and
weight transfer over CUDA (`vllm_transfer`) follow vLLM 0.32's interfaces but have not been run on a GPU.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tasks.errors import InputError
from tasks.params import Hardware
from tasks.policy.network import bit_sums, combine_sums, fingerprint
from tasks.sampling.engines import Job
from tasks.sampling.protocol import Completion, Request, SamplingSettings
from tasks.sampling.seeds import request_seed, sequence_key
from tasks.sampling.vllm_options import KEY, TEMPERATURE, TOP_P, head_sizes, llm_arguments, on_cpu, set_environment
from tasks.sampling.vllm_probe import Probe
from tasks.sampling.vllm_process import PATIENCE, EngineLost, EngineProcess
from tasks.sampling.vllm_widen import plan_widening, widen_config, widen_tensor
from tasks.sampling.weights import fill_stage, new_stage, read_config, state_dict, stored_tensors

if TYPE_CHECKING:
    from vllm import RequestOutput, SamplingParams


SAME_ARCHITECTURE = (
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "tie_word_embeddings",
)


class StaleWeights(RuntimeError):
    """The engine does not hold the weights it was given."""


@dataclass(frozen=True)
class _Place:
    """Where a sequence belongs: its job, the request within it, and the sample."""

    job: int
    request: int
    sample: int


class VllmEngine:
    """A vLLM engine; see `tasks.sampling.protocol.Engine`."""

    name = "vllm"

    def __init__(
        self,
        checkpoint: Path,
        hardware: Hardware,
        precision: str = "float32",
        context: int | None = None,
        colocated: bool = False,
        patience: float = PATIENCE,
    ) -> None:
        """Starts vLLM on a checkpoint.

        Args:
            checkpoint: folder of a transformers checkpoint; later ones must have its architecture.
            hardware: threads, batch sizes and `hardware.vllm`.
            precision: float32 or bfloat16.
            context: longest sequence, tokens; None: the model's own limit.
            colocated: whether a trainer shares the device.
            patience: seconds an answer may take before the process counts as hung.

        Raises:
            InputError: no checkpoint, or one that vLLM cannot run on this machine.
        """
        set_environment(hardware.threads_per_worker)
        self._config = read_config(checkpoint)
        self._dtype = getattr(torch, precision)
        self._widening = plan_widening(self._config, head_sizes()) if on_cpu() else None
        self._context = min(context or 1 << 31, int(self._config["max_position_embeddings"]))
        self._shapes = {name: tuple(tensor.shape) for name, tensor in stored_tensors(checkpoint)}
        self._stops = _stop_tokens(checkpoint, self._config)
        self._probe = Probe(self._config, self._context, self._dtype)
        self._hardware, self._colocated, self._patience = hardware, colocated, patience
        self._restarts = 1
        self._asleep = False
        self._own_draws = on_cpu()
        self._stage = new_stage()
        self._copy_config(checkpoint)
        weights = state_dict(checkpoint, self._dtype)
        self._fingerprint = fingerprint(weights)
        self._folder = self._stage
        fill_stage(self._stage, self._to_stage(weights))
        self._process = self._start()
        self._probe.check(self._ask_probe(), weights, self._fingerprint)

    def generate(self, requests: Sequence[Request], settings: SamplingSettings) -> list[list[Completion]]:
        """Completes each request n times; see `tasks.sampling.protocol.Engine`."""
        out: list[list[Completion]] = [[] for _ in requests]
        for _, place, completions in self.stream([Job(requests, settings)]):
            out[place] = completions
        return out

    def stream(self, jobs: Sequence[Job]) -> Iterator[tuple[int, int, list[Completion]]]:
        """Draws jobs in one batch; see `tasks.sampling.engines.StreamingEngine`.

        Raises:
            InputError: a prompt and its completion do not fit the context; the prompt is named.
            EngineLost: the engine died for the second time.
        """
        self._check_lengths(jobs)
        self._require_awake()
        open_places = [
            _Place(job, request, sample)
            for job, entry in enumerate(jobs)
            for request in range(len(entry.requests))
            for sample in range(entry.settings.n)
        ]
        drawn: dict[tuple[int, int], dict[int, Completion]] = {}
        while open_places:
            try:
                for place, completion in self._draw(jobs, open_places):
                    samples = drawn.setdefault((place.job, place.request), {})
                    samples[place.sample] = completion
                    if len(samples) == jobs[place.job].settings.n:
                        yield place.job, place.request, [samples[index] for index in sorted(samples)]
                open_places = []
            except EngineLost:
                self._restart()
                open_places = [p for p in open_places if p.sample not in drawn.get((p.job, p.request), {})]

    def load(self, checkpoint: Path) -> str:
        """Replaces the weights by a checkpoint's; returns `fingerprint()`.

        Raises:
            InputError: no checkpoint there, or one of another architecture.
            StaleWeights: the engine does not compute with the new weights.
        """
        config = read_config(checkpoint)
        for key in SAME_ARCHITECTURE:
            if config.get(key) != self._config.get(key):
                raise InputError(
                    f"{checkpoint}: {key} is {config.get(key)}, the running engine's model has {self._config.get(key)}"
                )
        return self.update(state_dict(checkpoint, self._dtype).items())

    def update(self, weights: Iterable[tuple[str, torch.Tensor]]) -> str:
        """Replaces the weights by these named tensors, a whole transformers state dict; returns the fingerprint.

        Raises:
            StaleWeights: a tensor is missing, foreign or of another shape, or the engine holds something else now.
        """
        held = {name: tensor.detach().to(self._dtype) for name, tensor in weights}
        self._check_complete(held)
        staged = self._to_stage(held)
        fill_stage(self._stage, staged)
        self._fingerprint = fingerprint(held)
        if self._asleep:
            self._process.wake("weights")
        try:
            self._swap({name: bit_sums(tensor) for name, tensor in staged.items()})
        except EngineLost:
            self._restart()
        if self._asleep:
            self._process.wake("kv_cache")
            self._asleep = False
        self._probe.check(self._ask_probe(), held, self._fingerprint)
        return self._fingerprint

    def fingerprint(self) -> str:
        """Digest of the weights the engine samples with, equal to the transformers engine's."""
        return self._fingerprint

    def release(self) -> None:
        """Gives the device's memory to a colocated trainer; the next `update` or `load` takes it back.

        On a CPU there is nothing to give back.
        """
        if self._colocated and not on_cpu():
            self._process.sleep()
            self._asleep = True

    def close(self) -> None:
        """Ends vLLM's processes and removes the staged weights."""
        self._process.close()
        shutil.rmtree(self._stage, ignore_errors=True)

    @property
    def pids(self) -> list[int]:
        """Process ids of the engine."""
        return self._process.pids

    def _start(self) -> EngineProcess:
        arguments = llm_arguments(
            self._folder, self._hardware, str(self._dtype).removeprefix("torch."), self._context, self._colocated
        )
        return EngineProcess(arguments, self._patience)

    def _restart(self) -> None:
        """Replaces a lost process by one with the current weights; the second loss is final."""
        self._process.close()
        if self._restarts == 0:
            raise EngineLost("the vLLM engine was lost twice; the run stops at its last checkpoint")
        self._restarts -= 1
        self._process = self._start()

    def _swap(self, expected: Mapping[str, list[int]]) -> None:
        results = self._process.call("rlscale_swap", str(self._stage), str(self._dtype).removeprefix("torch."))
        if any(result != combine_sums(expected) for result in results):
            raise StaleWeights(f"vLLM read weights with digest {results}, expected {combine_sums(expected)}")
        self._process.forget_prefixes()

    def _check_complete(self, held: Mapping[str, torch.Tensor]) -> None:
        optional = {"lm_head.weight"} if self._config.get("tie_word_embeddings") else set()
        shapes = {name: tuple(tensor.shape) for name, tensor in held.items()}
        missing = sorted(set(self._shapes) - set(shapes) - optional)
        foreign = sorted(set(shapes) - set(self._shapes) - optional)
        wrong = sorted(name for name in set(shapes) & set(self._shapes) if shapes[name] != self._shapes[name])
        if missing or foreign or wrong:
            raise StaleWeights(f"partial update refused: missing {missing}, unknown {foreign}, wrong shape {wrong}")

    def _to_stage(self, held: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The tensors as vLLM shall read them: without a tied output layer, widened where the kernel needs it."""
        tied = bool(self._config.get("tie_word_embeddings"))
        kept = {name: tensor for name, tensor in held.items() if not (tied and name == "lm_head.weight")}
        if self._widening is None:
            return kept
        return {name: widen_tensor(name, tensor, self._widening) for name, tensor in kept.items()}

    def _copy_config(self, checkpoint: Path) -> None:
        config = self._config if self._widening is None else widen_config(self._config, self._widening)
        (self._stage / "config.json").write_text(json.dumps(config), encoding="utf-8")
        generation = checkpoint / "generation_config.json"
        if generation.is_file():
            shutil.copy(generation, self._stage)

    def _require_awake(self) -> None:
        if self._asleep:
            raise StaleWeights("the engine gave its memory back and has no weights; update it before sampling")

    def _check_lengths(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            for request in job.requests:
                if len(request.tokens) + job.settings.max_tokens > self._context:
                    raise InputError(
                        f"problem {request.prompt_id}: {len(request.tokens)} prompt tokens and "
                        f"{job.settings.max_tokens} completion tokens do not fit the model's context of {self._context}"
                    )

    def _draw(self, jobs: Sequence[Job], places: Sequence[_Place]) -> Iterator[tuple[_Place, Completion]]:
        prompts = [jobs[place.job].requests[place.request].tokens for place in places]
        params = [self._params(jobs[place.job], place) for place in places]
        waiting = dict(zip(self._process.enqueue(prompts, params), places, strict=True))
        try:
            for output in self._process.finished():
                yield waiting.pop(output.request_id), _completion(output)
        except GeneratorExit:
            self._process.abort(list(waiting))
            raise

    def _params(self, job: Job, place: _Place) -> SamplingParams:
        from vllm import SamplingParams

        settings, request = job.settings, job.requests[place.request]
        common: dict[str, Any] = {"max_tokens": settings.max_tokens, "logprobs": 0, "detokenize": False}
        common |= {"flat_logprobs": True, "stop_token_ids": self._stops, "skip_clone": True}
        if settings.temperature == 0.0:
            return SamplingParams(temperature=0.0, **common)
        if self._own_draws:
            key = sequence_key(settings, request.prompt_id, place.sample)
            extra = {KEY: key, TEMPERATURE: settings.temperature, TOP_P: settings.top_p}
            return SamplingParams(temperature=0.0, extra_args=extra, **common)
        seed = request_seed(settings, request.prompt_id, place.sample)
        return SamplingParams(temperature=settings.temperature, top_p=settings.top_p, seed=seed, **common)

    def _ask_probe(self) -> list[float]:
        """Log-probabilities of the probe's tokens, as the engine computes them now."""
        from vllm import SamplingParams

        params = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        self._process.enqueue([self._probe.tokens], [params])
        (output,) = list(self._process.finished())
        rows = output.prompt_logprobs or []
        pairs = zip(rows[1:], self._probe.tokens[1:], strict=True)
        return [row[token].logprob for row, token in pairs if row is not None]


def open_vllm_engine(checkpoint: Path, hardware: Hardware, precision: str, context: int | None) -> VllmEngine:
    """Opens an engine for evaluation, which has the device to itself."""
    return VllmEngine(checkpoint, hardware, precision, context)


def _completion(output: RequestOutput) -> Completion:
    first = output.outputs[0]
    flat: Any = first.logprobs
    finish = "stop" if first.finish_reason == "stop" else "length"
    return Completion(tuple(first.token_ids), tuple(flat.logprobs), finish)  # type: ignore[arg-type]


def _stop_tokens(checkpoint: Path, config: Mapping[str, Any]) -> list[int]:
    path = checkpoint / "generation_config.json"
    found = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id") if path.is_file() else None
    eos = found if found is not None else config.get("eos_token_id")
    return [eos] if isinstance(eos, int) else list(eos or [])
