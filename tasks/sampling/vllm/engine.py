"""The vLLM engine behind the program's protocol: one process per architecture, whose weights are replaced in place.

Differences from using `vllm.LLM` directly:
- a checkpoint replaces the weights without a restart; the worker sums the tensors' bits on their way into the model
  and a log-probability probe checks what the model then computes;
- randomness derives from (seed, step, prompt, sample, position), see `sampler`;
- batches with different settings run together, and prompts come back as they finish;
- a process that dies or hangs is replaced once, with its last weights, and its unfinished requests are repeated.

Not covered: a restart after weights came over CUDA (the run stops at its last checkpoint instead); quantised
checkpoints; adapters that are not merged; a trainer that shards its policy over several processes while each has an
engine larger than one device (use a server). Memory release, tensor parallelism and the transfer over CUDA follow
vLLM 0.32's interfaces but have not been run on a GPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from tasks.policy.policy_model import weights_digest
from tasks.sampling.protocol import Completion, Engine, GenerationBatch, Request, SamplingSettings, in_order
from tasks.sampling.vllm.options import head_sizes, llm_arguments, on_cpu, set_environment
from tasks.sampling.vllm.probe import LogprobProbe
from tasks.sampling.vllm.process import ANSWER_TIMEOUT, EngineDied, EngineProcess
from tasks.sampling.vllm.requests import (
    SequenceIndex,
    check_lengths,
    completion_of,
    sampling_params,
    sequence_indices,
    stop_token_ids,
)
from tasks.sampling.vllm.staging import Checksums, Staging, StaleWeights, check_checksums
from tasks.sampling.vllm.weights import state_dict
from tasks.study.params import SizedHardware

if TYPE_CHECKING:
    from tasks.sampling.vllm.transfer import Transfer


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
        """Starts vLLM on a checkpoint.

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
        set_environment(hardware.threads_per_worker, colocated)
        self._staging = Staging(checkpoint, head_sizes() if on_cpu() else None)
        config = self._staging.config
        self._context = min(context or 1 << 31, int(config["max_position_embeddings"]))
        self._precision, self._dtype = precision, getattr(torch, precision)
        self._stops = stop_token_ids(checkpoint, config)
        self._probe = LogprobProbe(config, self._context, self._dtype)
        self._hardware, self._colocated, self._timeout_s = hardware, colocated, timeout_s
        self._counter_based = on_cpu()
        self._shares_device = colocated and not on_cpu() and (hardware.vllm.tensor_parallel or 1) == 1
        self._restarts = 1
        self._asleep = False
        self._transfer: Transfer | None = None
        self._process: EngineProcess | None = None
        try:
            if self._staging.reads_checkpoints:
                self._staging.use_checkpoint(checkpoint)
            else:
                self._staging.write(state_dict(checkpoint, self._dtype))
            self._process = self._start()
            self.load(checkpoint)
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
        tensors = {name: tensor.detach().to(self._dtype) for name, tensor in weights}
        self._staging.check_complete(tensors)
        if self._shares_device and all(tensor.is_cuda for tensor in tensors.values()):
            self._send(tensors)
        else:
            self._load_staged(self._staging.write(tensors))
        self._fingerprint = weights_digest(tensors)
        self._probe.check(self._score_probe(), tensors, self._fingerprint)
        return self._fingerprint

    def fingerprint(self) -> str:
        """Digest of the weights the engine samples with, equal to the transformers engine's."""
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
        """Whether the one restart has been used up."""
        return self._restarts == 0

    @property
    def process(self) -> EngineProcess:
        """The running engine process."""
        assert self._process is not None, "the engine has been closed"
        return self._process

    def _start(self) -> EngineProcess:
        folder = self._staging.folder
        arguments = llm_arguments(folder, self._hardware, self._precision, self._context, self._colocated)
        return EngineProcess(arguments, self._timeout_s)

    def _restart(self) -> None:
        """Replaces a dead process by one that starts from the current weights; the second death is final."""
        self.process.close()
        if self._restarts == 0:
            raise EngineDied("the vLLM engine was lost twice; the run stops at its last checkpoint")
        self._restarts -= 1
        self._process = self._start()
        self._asleep = False
        self._transfer = None

    def _send(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Hands the trainer's tensors over on the device (`transfer`)."""
        from tasks.sampling.vllm.transfer import ipc_transfer

        if self._asleep:
            self.process.wake("weights")
        if self._transfer is None:
            self._transfer = ipc_transfer(self.process.llm, tensors)
        self._transfer.send(tensors)
        self._restarts = 0  # a new process could not start from these weights: they lie in no file
        self._restore_kv_cache()

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
