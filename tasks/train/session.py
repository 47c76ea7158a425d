"""What a training run holds while it runs: data, policy, reference, optimiser, sampler. Built once, closed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from transformers import AutoTokenizer

from tasks.flops import Architecture
from tasks.grading import GradingPool
from tasks.grid import Run
from tasks.layout import Layout
from tasks.params import Params
from tasks.policy.network import Policy, load_model
from tasks.records import ModelRecord, Problem, read_models, read_problems
from tasks.sampling.engines import open_engine
from tasks.sampling.prompts import requests
from tasks.sampling.protocol import Request
from tasks.train.ledger import architecture_of
from tasks.train.rollouts import Sampler
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
        accelerator: processes and devices.
        updater: policy, reference, optimiser.
        sampler: engine, tokenizer, grader.
        train: unique training problems in curriculum order; looped tau times.
        heldout: the held-out problems.
    """

    params: Params
    run: Run
    mark: str
    model: ModelRecord
    architecture: Architecture
    accelerator: Accelerator
    updater: Updater
    sampler: Sampler
    train: ProblemSet
    heldout: ProblemSet

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return Layout.of(self.params).run(self.run)

    def policy_weights(self) -> dict[str, torch.Tensor]:
        """Full parameters of the policy by transformers name, tied ones once per name."""
        return self.accelerator.get_state_dict(self.updater.policy) if _is_sharded(self) else _plain(self)

    def refresh_sampler(self) -> str:
        """Hands the sampler the policy's current weights and checks that it holds them; returns the fingerprint."""
        return self.sampler.engine.update(self.policy_weights().items())

    def close(self) -> None:
        """Ends the sampler and the grader's processes."""
        self.sampler.engine.close()
        self.sampler.grader.close()
        self.accelerator.free_memory()


def _plain(session: Session) -> dict[str, torch.Tensor]:
    policy: Any = session.accelerator.unwrap_model(session.updater.policy)
    return policy.model.state_dict()


def _is_sharded(session: Session) -> bool:
    return session.accelerator.distributed_type.value == "FSDP"


def open_session(params: Params, run: Run, mark: str) -> Session:
    """Builds a run's session from the files of the stages before.

    Raises:
        InputError: an upstream stage is missing, a prompt is too long, the engine cannot be had.
    """
    layout, train = Layout.of(params), params.train
    record = read_models(layout.stage("pretrain"))[run.model]
    checkpoint = layout.stage("pretrain") / record.path
    accelerator = Accelerator(mixed_precision="bf16" if train.precision == "bfloat16" else "no")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
    policy = Policy(load_model(checkpoint, "float32"))
    if params.hardware.gradient_checkpointing:
        policy.model.gradient_checkpointing_enable()
    architecture = architecture_of(policy.model.config)
    settings = train.optimizer
    optimizer = torch.optim.AdamW(
        policy.parameters(),
        lr=settings.learning_rate,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        weight_decay=settings.weight_decay,
        fused=True,
    )
    prepared, prepared_optimizer = accelerator.prepare(policy, optimizer)
    engine = open_engine(train.engine, checkpoint, params.hardware)
    style = getattr(train.prompt_style, run.variant)
    longest = train.sampling.max_prompt_tokens

    def problem_set(path: Path) -> ProblemSet:
        problems = read_problems(path)
        return ProblemSet(problems, requests(problems, tokenizer, style, longest))

    limits = params.hardware
    grader = GradingPool(limits.grading_workers, limits.grading_seconds, limits.grading_memory_mb)
    return Session(
        params=params,
        run=run,
        mark=mark,
        model=record,
        architecture=architecture,
        accelerator=accelerator,
        updater=Updater(
            accelerator=accelerator,
            policy=prepared,
            reference=_reference(checkpoint, accelerator) if train.objective.kl_coefficient > 0 else None,
            optimizer=prepared_optimizer,
            objective=train.objective,
            temperature=train.sampling.temperature,
            exact_sampler=_sampler_is_exact(params),
            grad_clip=settings.grad_clip,
        ),
        sampler=Sampler(engine, tokenizer, grader),
        train=problem_set(layout.train_problems if run.tau == 1 else layout.subset(run.tau)),
        heldout=problem_set(layout.heldout),
    )


def _reference(checkpoint: Path, accelerator: Accelerator) -> torch.nn.Module:
    """The frozen initial policy."""
    reference = Policy(load_model(checkpoint, "float32")).to(accelerator.device).eval()
    return reference.requires_grad_(False)


def _sampler_is_exact(params: Params) -> bool:
    """The transformers engine at T = 1 without nucleus, in float32, samples from the trainer's own distribution."""
    train = params.train
    plain = train.sampling.temperature == 1.0 and train.sampling.top_p == 1.0
    return train.engine == "transformers" and plain and train.precision == "float32"
