"""What a training run holds while it runs: data, policy, reference, optimiser, sampler. Built once, closed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from transformers import AutoTokenizer

from tasks.flops import Architecture
from tasks.gpus import peak_of_device
from tasks.grading import GradingPool
from tasks.grid import Run
from tasks.layout import Layout
from tasks.params import Params
from tasks.policy.network import Policy
from tasks.policy.packing import Packed
from tasks.records import ModelRecord, Problem, read_models
from tasks.sampling.prompts import rendered_set
from tasks.sampling.protocol import Request
from tasks.train.checkpoints import Crew
from tasks.train.distributed import Spread, build_policy, full_weights, open_spread
from tasks.train.kept_engine import SHELF
from tasks.train.ledger import architecture_of
from tasks.train.lora import adapters_off
from tasks.train.rollouts import Sampler
from tasks.train.sampler_groups import open_sampler
from tasks.train.update import Updater


@dataclass(frozen=True)
class ProblemSet:
    """Problems and their rendered prompts, index by index."""

    problems: Sequence[Problem]
    requests: Sequence[Request]

    def pick(self, indices: Sequence[int]) -> ProblemSet:
        """The problems at these indices."""
        return ProblemSet([self.problems[i] for i in indices], [self.requests[i] for i in indices])


@dataclass(frozen=True)
class Session:
    """Everything a run needs; see the attributes' types.

    Attributes:
        params: the study.
        run: the experiment.
        mark: the run's fingerprint.
        model: record of the initial checkpoint.
        architecture: its shape, for the ledger.
        policy: the policy itself, outside of what DDP wraps around it.
        updater: policy, reference, optimiser.
        sampler: engine, tokenizer, grader.
        train: unique training problems in curriculum order; looped tau times.
        heldout: the held-out problems.
        peak: FLOP/s of one of the run's devices at best, None where it is not known.
    """

    params: Params
    run: Run
    mark: str
    model: ModelRecord
    architecture: Architecture
    policy: Policy
    updater: Updater
    sampler: Sampler
    train: ProblemSet
    heldout: ProblemSet
    peak: float | None = None

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Layout.of(self.params).run(self.run)

    @property
    def spread(self) -> Spread:
        """The run's processes."""
        return self.updater.spread

    @property
    def accelerator(self) -> Accelerator:
        """Device and reductions."""
        return self.updater.spread.accelerator

    @property
    def crew(self) -> Crew:
        """The processes as writers and readers of checkpoints."""
        return Crew(self.spread.rank, self.spread.world, self.spread.writers, self.spread.exchange)

    def policy_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The policy's whole weights, one after another, at the run's precision; all processes must go through them."""
        return full_weights(self.policy, self.params.train.precision)

    def refresh_sampler(self) -> str:
        """Hands the sampler the policy's current weights and checks that it holds them; returns the fingerprint."""
        return self.sampler.engine.update(self.policy_weights())

    def release_sampler(self) -> None:
        """Takes the device's memory back from an engine that shares it, until the next refresh."""
        self.sampler.engine.release()

    def close(self, sound: bool = True) -> None:
        """Gives the sampler back, or ends it where the run was not sound, and ends the grader's processes."""
        SHELF.give_back(self.sampler.engine, sound)
        self.sampler.grader.close()
        if self.accelerator.device.type != "cpu":
            self.accelerator.free_memory()  # a third of a second of collecting garbage that on a CPU frees nothing


def open_session(params: Params, run: Run, mark: str) -> Session:
    """Builds a run's session from the files of the stages before.

    Raises:
        InputError: an upstream stage is missing, a prompt is too long, the engine cannot be had.
    """
    layout, train = Layout.of(params), params.train
    record = read_models(layout.stage("pretrain"))[run.model]
    checkpoint = layout.stage("pretrain") / record.path
    spread = open_spread(train.precision)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    policy = build_policy(spread, checkpoint, train.lora, run.seed)
    updater = _updater(params, spread, policy, checkpoint)

    def problem_set(path: Path) -> ProblemSet:
        style = getattr(train.prompt_style, run.variant)
        rendered = rendered_set(path, checkpoint, style, train.sampling.max_prompt_tokens)
        return ProblemSet(rendered.problems, rendered.requests)

    problems = problem_set(layout.train_problems if run.tau == 1 else layout.subset(run.tau))
    heldout = problem_set(layout.heldout)
    limits, device = params.hardware, spread.accelerator.device
    grader = GradingPool(limits.grading_workers, limits.grading_seconds, limits.grading_memory_mb)
    return Session(
        params=params,
        run=run,
        mark=mark,
        model=record,
        architecture=architecture_of(policy.model.config),
        policy=policy,
        updater=updater,
        sampler=Sampler(open_sampler(params, spread, checkpoint), tokenizer, grader),
        train=problems,
        heldout=heldout,
        peak=peak_of_device(torch.cuda.get_device_name(device)) if device.type == "cuda" else None,
    )


def _updater(params: Params, spread: Spread, policy: Policy, checkpoint: Path) -> Updater:
    """Wraps the policy and builds what updates it."""
    train, settings = params.train, params.train.optimizer
    if params.hardware.gradient_checkpointing:
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
    if spread.mode != "sharded":
        prepared, optimizer = spread.accelerator.prepare(policy, optimizer)
    return Updater(
        spread=spread,
        policy=prepared,
        reference=_reference(params, spread, policy, prepared, checkpoint),
        optimizer=optimizer,
        objective=train.objective,
        temperature=train.sampling.temperature,
        exact_sampler=_sampler_is_exact(params),
        grad_clip=settings.grad_clip,
    )


def _reference(
    params: Params, spread: Spread, policy: Policy, prepared: torch.nn.Module, checkpoint: Path
) -> Callable[[Packed, float], torch.Tensor] | None:
    """The frozen initial policy: a second model, or with adapters the same one with the adapters switched off."""
    if params.train.objective.kl_coefficient == 0:
        return None
    if params.train.lora is None:
        return build_policy(spread, checkpoint, frozen=True).to(spread.accelerator.device).eval()

    def reference(packed: Packed, temperature: float) -> torch.Tensor:
        with adapters_off(policy):
            return prepared(packed, temperature)

    return reference


def _sampler_is_exact(params: Params) -> bool:
    """The transformers engine at T = 1 without nucleus, in float32, samples from the trainer's own distribution."""
    train = params.train
    plain = train.sampling.temperature == 1.0 and train.sampling.top_p == 1.0
    return train.engine == "transformers" and plain and train.precision == "float32"
