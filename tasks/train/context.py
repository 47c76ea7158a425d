"""What a training run holds while it runs: data, policy, reference, optimiser, sampler. Built once, closed once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator

from tasks.costs.flops import Architecture
from tasks.costs.gpu_table import peak_of_device
from tasks.grading import GradingPool
from tasks.policy.attention import supports_varlen
from tasks.policy.families import require_supported_family
from tasks.policy.kernels import KernelOptions, use_kernels
from tasks.policy.packing import PackedBatch
from tasks.policy.policy_model import Policy
from tasks.records.models import ModelRecord, read_models
from tasks.sampling.prompts import PromptSet, load_prompts
from tasks.study.errors import InputError
from tasks.study.grid import Run
from tasks.study.params import Params, SizedHardware
from tasks.study.paths import StudyPaths
from tasks.train.checkpoints import RankGroup
from tasks.train.lora import adapters_off
from tasks.train.parallel import ParallelContext, build_policy, init_parallel, iter_full_state_dict
from tasks.train.rollouts import RolloutSampler
from tasks.train.run_engine import ENGINE_CACHE, open_sampler
from tasks.train.update import PolicyUpdater


@dataclass(frozen=True)
class TrainingContext:
    """Everything a run needs; see the attributes' types.

    Attributes:
        params: the study.
        run: the experiment.
        fingerprint: the run's fingerprint.
        model: record of the initial checkpoint.
        architecture: its shape, for the ledger.
        policy: the policy itself, outside of what DDP wraps around it.
        updater: policy, reference, optimiser.
        sampler: engine and grader.
        train: unique training problems in curriculum order; looped tau times.
        heldout: the held-out problems.
        peak_flops: FLOP/s of one of the run's devices at best, None where it is not known.
    """

    params: Params
    run: Run
    fingerprint: str
    model: ModelRecord
    architecture: Architecture
    policy: Policy
    updater: PolicyUpdater
    sampler: RolloutSampler
    train: PromptSet
    heldout: PromptSet
    peak_flops: float | None = None

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return StudyPaths.of(self.params).run(self.run)

    @property
    def hardware(self) -> SizedHardware:
        """The hardware block's values for the run's size."""
        return self.params.hardware.of_size(self.run.size)

    @property
    def parallel(self) -> ParallelContext:
        """The run's processes."""
        return self.updater.parallel

    @property
    def accelerator(self) -> Accelerator:
        """Device and reductions."""
        return self.updater.parallel.accelerator

    @property
    def ranks(self) -> RankGroup:
        """The processes as readers of checkpoints and writers of the final policy."""
        return self.ranks_for("training")

    def ranks_for(self, purpose: str) -> RankGroup:
        """The processes, gathering as `ParallelContext.all_gather_object` does for this purpose."""
        parallel = self.parallel
        gather = functools.partial(parallel.all_gather_object, purpose=purpose)
        return RankGroup(parallel.rank, parallel.world_size, parallel.num_shards, gather)

    def policy_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The policy's whole weights, one after another, at the run's precision; all processes must go through them."""
        return iter_full_state_dict(self.policy, self.params.train.precision)

    def refresh_sampler(self) -> str:
        """Hands the sampler the policy's current weights and checks that it holds them; returns the fingerprint."""
        return self.sampler.engine.update(self.policy_weights())

    def release_sampler(self) -> None:
        """Takes the device's memory back from an engine that shares it, until the next refresh."""
        self.sampler.engine.release()

    def close(self, reusable: bool = True) -> None:
        """Gives the sampler back, or ends it where it is not `reusable`, and ends the grader's processes."""
        ENGINE_CACHE.release(self.sampler.engine, reusable)
        self.sampler.grader.close()
        if self.accelerator.device.type != "cpu":
            self.accelerator.free_memory()  # a third of a second of collecting garbage that on a CPU frees nothing


def open_context(params: Params, run: Run, fingerprint: str) -> TrainingContext:
    """Opens what a run needs from the files of the stages before.

    Raises:
        InputError: an upstream stage is missing, a prompt is too long, the engine is not available, the policy cannot
            compute the model's family.
    """
    paths, train = StudyPaths.of(params), params.train
    record = read_models(paths.stage("pretrain"))[run.model]
    checkpoint = paths.stage("pretrain") / record.path
    parallel = init_parallel(train.precision, params.hardware.collective_timeout_seconds)
    policy = build_policy(parallel, checkpoint, train.lora, run.seed, float32_head=train.float32_head)
    architecture, device = Architecture.from_config(policy.model.config.to_dict()), parallel.accelerator.device
    longest = train.sampling.max_prompt_tokens + train.sampling.max_completion_tokens
    varlen = supports_varlen(device, train.precision, architecture.head_dim)
    require_supported_family(policy.to(device), train.precision, longest, device, varlen, _kernels(params))
    hardware = params.hardware.of_size(run.size)
    if params.hardware.compile_layers and hardware.gradient_checkpointing and not varlen:
        # Blocks of attention come in changing numbers; a layer recompiled for its second pass keeps other tensors.
        raise InputError(
            "hardware.compile_layers with gradient_checkpointing needs variable-length attention: bfloat16 on a GPU; "
            "switch one of the two off"
        )
    updater = _updater(params, parallel, policy, checkpoint, hardware.gradient_checkpointing)

    style, most = getattr(train.prompt_style, run.variant), train.sampling.max_prompt_tokens
    problems = paths.train_problems if run.tau == 1 else paths.subset(run.tau)
    prompts, heldout = (load_prompts(path, checkpoint, style, most) for path in (problems, paths.heldout))
    grader = GradingPool(hardware.grading_workers, hardware.grading_seconds, hardware.grading_memory_mb)
    return TrainingContext(
        params=params,
        run=run,
        fingerprint=fingerprint,
        model=record,
        architecture=architecture,
        policy=policy,
        updater=updater,
        sampler=RolloutSampler(open_sampler(params, hardware, parallel, checkpoint), grader, train.reward),
        train=prompts,
        heldout=heldout,
        peak_flops=peak_of_device(torch.cuda.get_device_name(device)) if device.type == "cuda" else None,
    )


def _updater(
    params: Params, parallel: ParallelContext, policy: Policy, checkpoint: Path, recomputed: bool
) -> PolicyUpdater:
    """Wraps the policy and builds what updates it."""
    train, settings = params.train, params.train.optimizer
    if recomputed:
        policy.model.gradient_checkpointing_enable({"use_reentrant": False})
        policy.train()  # transformers recomputes in training mode only; there is no dropout to switch on
    optimizer: torch.optim.Optimizer = torch.optim.AdamW(
        [parameter for parameter in policy.parameters() if parameter.requires_grad],
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    prepared: torch.nn.Module = policy
    if parallel.mode != "fsdp":
        prepared, optimizer = parallel.accelerator.prepare(policy, optimizer)
    return PolicyUpdater(
        parallel=parallel,
        policy=prepared,
        reference=_reference(params, parallel, policy, prepared, checkpoint),
        optimizer=optimizer,
        objective=train.objective,
        temperature=train.sampling.temperature,
        sampler_is_exact=_sampler_is_exact(params),
        settings=settings,
    )


def _reference(
    params: Params, parallel: ParallelContext, policy: Policy, prepared: torch.nn.Module, checkpoint: Path
) -> Callable[[PackedBatch, float], torch.Tensor] | None:
    """The frozen initial policy: a second model, or with adapters the same one with the adapters switched off."""
    if params.train.objective.kl_coefficient == 0:
        return None
    if params.train.lora is None:
        frozen = build_policy(parallel, checkpoint, frozen=True, float32_head=params.train.float32_head)
        use_kernels(frozen.model, _kernels(params))
        return frozen.to(parallel.accelerator.device).eval()

    def reference(packed: PackedBatch, temperature: float) -> torch.Tensor:
        with adapters_off(policy):
            return prepared(packed, temperature)

    return reference


def _kernels(params: Params) -> KernelOptions:
    return KernelOptions(params.hardware.kernels == "liger", params.hardware.compile_layers)


def _sampler_is_exact(params: Params) -> bool:
    """The transformers engine at T = 1 without nucleus, in float32, samples from the trainer's own distribution."""
    train = params.train
    plain = train.sampling.temperature == 1.0 and train.sampling.top_p == 1.0
    return train.engine == "transformers" and plain and train.precision == "float32"
