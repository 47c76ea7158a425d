"""The vLLM engine behind the program's protocol: one process per architecture, weights swapped in place.

Differences from using `vllm.LLM` directly:
- a checkpoint replaces the weights without a restart; the worker sums the tensors' bits on their way into the model
  and a log-probability probe checks what the model then computes;
- randomness derives from (seed, step, prompt, sample, position), see `vllm_draws`;
- jobs with different settings share a batch, and prompts come back as they finish;
- a process that dies or hangs is replaced once, with the weights it held, and its open requests are asked again.

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
from tasks.sampling.protocol import Completion, GenerationBatch, Request, SamplingSettings, in_order
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
from tasks.study.params import Hardware

if TYPE_CHECKING:
    from tasks.sampling.vllm.transfer import Transfer


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
        patience: float = ANSWER_TIMEOUT,
    ) -> None:
        """Starts vLLM on a checkpoint.

        Args:
            checkpoint: folder of a transformers checkpoint; later ones must have its architecture.
            hardware: threads, batch sizes and `hardware.vllm`.
            precision: float32 or bfloat16.
            context: longest sequence, tokens; None: the model's own limit.
            colocated: whether a trainer in this process shares the device.
            patience: seconds an answer may take before the process counts as hung.

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
        self._hardware, self._colocated, self._patience = hardware, colocated, patience
        self._own_draws = on_cpu()
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

    def stream(self, jobs: Sequence[GenerationBatch]) -> Iterator[tuple[int, int, list[Completion]]]:
        """Draws jobs in one batch; see `tasks.sampling.protocol.StreamingEngine`.

        Raises:
            InputError: a prompt and its completion do not fit the context; the prompt is named.
            StaleWeights: the engine's memory was released and no weights have come since.
            EngineLost: the engine died for the second time.
        """
        check_lengths(jobs, self._context)
        if self._asleep:
            raise StaleWeights("the engine gave its memory back and has no weights; update it before sampling")
        waiting = sequence_indices(jobs)
        drawn: dict[tuple[int, int], dict[int, Completion]] = {}
        while waiting:
            try:
                for place, completion in self._draw(jobs, waiting):
                    samples = drawn.setdefault((place.job, place.request), {})
                    samples[place.sample] = completion
                    if len(samples) == jobs[place.job].settings.n:
                        yield place.job, place.request, [samples[index] for index in sorted(samples)]
                return
            except EngineDied:
                self._restart()
                waiting = [place for place in waiting if place.sample not in drawn.get((place.job, place.request), {})]

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
        self._fingerprint = self._staging.fingerprint(self._swap(None))
        self._probe.check(self._score_probe(), None, self._fingerprint)
        return self._fingerprint

    def update(self, weights: Iterable[tuple[str, torch.Tensor]]) -> str:
        """Replaces the weights by these named tensors, a whole transformers state dict; returns the fingerprint.

        Raises:
            StaleWeights: a tensor is missing, foreign or of another shape, or the engine read something else.
            ProbeFailed: the engine computes something else.
        """
        held = {name: tensor.detach().to(self._dtype) for name, tensor in weights}
        self._staging.check_complete(held)
        if self._shares_device and all(tensor.is_cuda for tensor in held.values()):
            self._send(held)
        else:
            self._swap(self._staging.write(held))
        self._fingerprint = weights_digest(held)
        self._probe.check(self._score_probe(), held, self._fingerprint)
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
        return EngineProcess(arguments, self._patience)

    def _restart(self) -> None:
        """Replaces a lost process by one that starts from the current weights; the second loss is final."""
        self.process.close()
        if self._restarts == 0:
            raise EngineDied("the vLLM engine was lost twice; the run stops at its last checkpoint")
        self._restarts -= 1
        self._process = self._start()
        self._asleep = False
        self._transfer = None

    def _send(self, held: Mapping[str, torch.Tensor]) -> None:
        """Hands the trainer's tensors over on the device (`vllm_transfer`)."""
        from tasks.sampling.vllm.transfer import ipc_transfer

        if self._asleep:
            self.process.wake("weights")
        if self._transfer is None:
            self._transfer = ipc_transfer(self.process.llm, held)
        self._transfer.send(held)
        self._restarts = 0  # a new process could not start from these weights: they lie in no file
        self._restore_kv_cache()

    def _swap(self, expected: Checksums | None) -> Checksums:
        """Has the workers read the staged weights; returns the sums of what they read."""
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

    def _draw(
        self, jobs: Sequence[GenerationBatch], places: Sequence[SequenceIndex]
    ) -> Iterator[tuple[SequenceIndex, Completion]]:
        prompts = [jobs[place.job].requests[place.request].tokens for place in places]
        params = [sampling_params(jobs[place.job], place, self._stops, self._own_draws) for place in places]
        waiting = dict(zip(self.process.enqueue(prompts, params), places, strict=True))
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
