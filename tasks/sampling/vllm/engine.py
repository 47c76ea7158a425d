"""The vLLM engine behind the program's protocol: one process per architecture, whose weights are replaced in place.

Differences from using `vllm.LLM` directly:
- vLLM starts on random weights: the first `load` or `update` is the only time that weights are read;
- a checkpoint replaces the weights without a restart; the worker sums the tensors' bits on their way into the model
  and a log-probability probe checks what the model then computes;
- a trainer on the same devices hands its weights over there (`buckets`), also where it is several processes;
- randomness derives from (seed, step, prompt, sample, position), see `sampler`;
- batches with different settings run together, and prompts come back as they finish;
- a process that dies or hangs is replaced once, with its last weights, and its unfinished requests are repeated.

Not covered: a restart after weights came in buckets (they lie in no file; the run stops and is tried again from its
last checkpoint); quantised checkpoints; adapters that are not merged. Memory release, tensor parallelism on GPUs and
CUDA handles follow vLLM 0.32's interfaces but have not been run on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from tasks.policy.policy_model import weights_digest
from tasks.sampling.protocol import Completion, Engine, GenerationBatch, Request, SamplingSettings, in_order
from tasks.sampling.vllm.buckets import BucketSender
from tasks.sampling.vllm.device_memory import free_cached_memory
from tasks.sampling.vllm.options import head_sizes, llm_arguments, on_cpu, set_environment
from tasks.sampling.vllm.probe import LogprobProbe
from tasks.sampling.vllm.process import ANSWER_TIMEOUT, EngineDied, EngineProcess, EngineWorkers
from tasks.sampling.vllm.requests import (
    SequenceIndex,
    check_lengths,
    completion_of,
    sampling_params,
    sequence_indices,
    stop_token_ids,
)
from tasks.sampling.vllm.staging import Checksums, Staging, StaleWeights, WeightLayout, check_checksums
from tasks.sampling.vllm.weights import state_dict
from tasks.study.params import SizedHardware


class VllmEngine(Engine):
    """A vLLM engine; see `tasks.sampling.protocol.Engine`."""

    name = "vllm"

    def __init__(
        self,
        checkpoint: Path,
        hardware: SizedHardware,
        precision: str = "float32",
        context: int | None = None,
        colocated: bool = False,
        timeout_s: float = ANSWER_TIMEOUT,
    ) -> None:
        """Starts vLLM for a checkpoint, which is read before the first sampling unless other weights come first.

        Args:
            checkpoint: folder of a transformers checkpoint; later ones must have its architecture.
            hardware: threads, batch sizes and `hardware.vllm`.
            precision: float32 or bfloat16.
            context: longest sequence, tokens; None: the model's own limit.
            colocated: whether a trainer in this process shares the device.
            timeout_s: seconds an answer may take before the process counts as hung.

        Raises:
            InputError: no checkpoint, or one that vLLM cannot run on this machine.
        """
        set_environment(hardware.threads_per_worker)
        self._staging = Staging(checkpoint, head_sizes() if on_cpu() else None)
        config = self._staging.config
        self._context = min(context or 1 << 31, int(config["max_position_embeddings"]))
        self._precision, self._dtype = precision, getattr(torch, precision)
        self._stops = stop_token_ids(checkpoint)
        self._probe = LogprobProbe(config, self._context, self._dtype)
        self._hardware, self._colocated, self._timeout_s = hardware, colocated, timeout_s
        self._counter_based = on_cpu()
        self._restarts = 1
        self._asleep = False
        self._unread: Path | None = checkpoint
        self._process: EngineProcess | None = None
        try:
            self._process = self._start()
        except BaseException:
            self.close()
            raise

    def generate(self, requests: Sequence[Request], settings: SamplingSettings) -> list[list[Completion]]:
        """Completes each request n times; see `tasks.sampling.protocol.Engine`."""
        return in_order(self, requests, settings)

    def stream(self, batches: Sequence[GenerationBatch]) -> Iterator[tuple[int, int, list[Completion]]]:
        """Samples batches together; see `tasks.sampling.protocol.StreamingEngine`.

        Raises:
            InputError: a prompt and its completion do not fit the context; the prompt is named.
            StaleWeights: the engine's memory was released and no weights have come since.
            EngineDied: the engine died for the second time.
        """
        check_lengths(batches, self._context)
        self._read()
        if self._asleep:
            raise StaleWeights("the engine gave its memory back and has no weights; update it before sampling")
        waiting = sequence_indices(batches)
        finished: dict[tuple[int, int], dict[int, Completion]] = {}
        while waiting:
            try:
                for index, completion in self._sample(batches, waiting):
                    samples = finished.setdefault((index.batch, index.request), {})
                    samples[index.sample] = completion
                    if len(samples) == batches[index.batch].settings.n:
                        yield index.batch, index.request, [samples[number] for number in sorted(samples)]
                return
            except EngineDied:
                self._restart()
                waiting = [i for i in waiting if i.sample not in finished.get((i.batch, i.request), {})]

    def load(self, checkpoint: Path) -> str:
        """Replaces the weights by a checkpoint's; returns `fingerprint()`.

        Raises:
            InputError: no checkpoint there, or one of another architecture.
            StaleWeights: the engine read something else.
            ProbeFailed: the engine computes something else.
        """
        self._staging.check_architecture(checkpoint)
        self._stops = stop_token_ids(checkpoint)
        if not self._staging.reads_checkpoints:
            return self.update(state_dict(checkpoint, self._dtype).items())
        self._staging.use_checkpoint(checkpoint)
        self._fingerprint = self._staging.fingerprint(self._load_staged(None))
        self._probe.check(self._score_probe(), None, self._fingerprint)
        return self._fingerprint

    def update(self, weights: Iterable[tuple[str, torch.Tensor]]) -> str:
        """Replaces the weights by these named tensors, a whole transformers state dict; returns the fingerprint.

        Raises:
            StaleWeights: a tensor is missing, foreign or of another shape, or the engine read something else.
            ProbeFailed: the engine computes something else.
        """
        if self._colocated and not on_cpu():
            device = torch.device("cuda", torch.cuda.current_device())
            return self.update_in_buckets(weights, BucketSender(self.bucket_layout, device))
        tensors = {name: tensor.detach().to(self._dtype) for name, tensor in weights}
        self._load_staged(self._staging.write(tensors))
        self._fingerprint = weights_digest(tensors)
        self._probe.check(self._score_probe(), tensors if self._staging.is_small else None, self._fingerprint)
        return self._fingerprint

    @property
    def bucket_layout(self) -> WeightLayout:
        """What this engine's workers take from a trainer's devices."""
        return self._staging.layout(self._dtype)

    def update_in_buckets(self, weights: Iterable[tuple[str, torch.Tensor]], sender: BucketSender) -> str:
        """Replaces the weights over the devices; see `buckets.BucketEngine`. Raises as `update`."""
        kept: dict[str, torch.Tensor] = {}

        def watched() -> Iterator[tuple[str, torch.Tensor]]:
            for name, tensor in weights:
                if self._staging.is_small:
                    kept[name] = tensor.detach().to("cpu", self._dtype)
                yield name, tensor

        free_cached_memory()
        if self._asleep:
            self.process.wake("weights")
        sent = sender.send(watched(), EngineWorkers(self.process))
        self._staging.check_complete(sent.shapes)
        self._restarts = 0  # a new process could not start from these weights: they lie in no file
        self._restore_kv_cache()
        self._fingerprint = self._staging.fingerprint(sent.checksums)
        self._probe.check(self._score_probe(), kept or None, self._fingerprint)
        return self._fingerprint

    def fingerprint(self) -> str:
        """Digest of the weights the engine samples with, equal to the transformers engine's."""
        self._read()
        return self._fingerprint

    def release(self) -> None:
        """Gives the device's memory to a colocated trainer; the next `update` or `load` takes it back.

        On a CPU there is nothing to give back.
        """
        if self._colocated and not on_cpu():
            self.process.sleep()
            self._asleep = True

    def close(self) -> None:
        """Ends vLLM's processes and removes the staged weights."""
        if self._process is not None:
            self._process.close()
        self._staging.remove()

    @property
    def restarted(self) -> bool:
        """Whether the one restart has been used up, or weights came that lie in no file."""
        return self._restarts == 0

    @property
    def process(self) -> EngineProcess:
        """The running engine process."""
        assert self._process is not None, "the engine has been closed"
        return self._process

    def _start(self) -> EngineProcess:
        folder = self._staging.folder
        arguments = llm_arguments(folder, self._hardware, self._precision, self._context, self._colocated)
        if self._unread is not None:
            arguments["load_format"] = "dummy"
        return EngineProcess(arguments, self._timeout_s)

    def _read(self) -> None:
        """Reads the checkpoint the engine was opened for, where no weights have come since."""
        if self._unread is not None:
            self.load(self._unread)

    def _restart(self) -> None:
        """Replaces a dead process by one that starts from the current weights; the second death is final."""
        self.process.close()
        if self._restarts == 0:
            raise EngineDied("the vLLM engine was lost and cannot start again; the run stops at its last checkpoint")
        self._restarts -= 1
        self._process = self._start()
        self._asleep = False

    def _load_staged(self, expected: Checksums | None) -> Checksums:
        """Has the workers read the staged weights; returns the checksums of what they read."""
        if self._asleep:
            self.process.wake("weights")
        try:
            results = self.process.call("rlscale_update_weights", str(self._staging.folder), self._precision)
        except EngineDied:
            self._restart()
            results = self.process.call("rlscale_update_weights", str(self._staging.folder), self._precision)
        sums = check_checksums(results, expected)
        self._restore_kv_cache()
        return sums

    def _restore_kv_cache(self) -> None:
        """After new weights: the cache's memory is taken again, and its entries of the old weights are dropped."""
        self._unread = None
        if self._asleep:
            self.process.wake("kv_cache")
            self._asleep = False
        self.process.reset_prefix_cache()

    def _sample(
        self, batches: Sequence[GenerationBatch], indices: Sequence[SequenceIndex]
    ) -> Iterator[tuple[SequenceIndex, Completion]]:
        prompts = [batches[index.batch].requests[index.request].tokens for index in indices]
        params = [sampling_params(batches[index.batch], index, self._stops, self._counter_based) for index in indices]
        waiting = dict(zip(self.process.enqueue(prompts, params), indices, strict=True))
        try:
            for output in self.process.finished():
                yield waiting.pop(output.request_id), completion_of(output)
        except GeneratorExit:
            self.process.abort(list(waiting))
            raise

    def _score_probe(self) -> list[float]:
        """Log-probabilities of the probe's tokens, as the engine computes them now."""
        from vllm import SamplingParams

        params = SamplingParams(temperature=0.0, max_tokens=1, prompt_logprobs=0, detokenize=False)
        self.process.enqueue([self._probe.tokens], [params])
        (output,) = list(self.process.finished())
        rows = output.prompt_logprobs or []
        pairs = zip(rows[1:], self._probe.tokens[1:], strict=True)
        return [row[token].logprob for row, token in pairs if row is not None]
