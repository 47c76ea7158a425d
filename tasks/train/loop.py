"""The training loop: rollout, grade, update, evaluate, record, checkpoint; again.

Difference from published trainers: a run is a folder. Killed at any moment and started again it continues at its last
checkpoint and ends with the same bytes (seconds aside); every step leaves one typed row in `metrics.jsonl`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch

from tasks.costs.flops import published_compute
from tasks.policy.attention import supports_varlen
from tasks.records.metrics import StepMetrics
from tasks.sampling.protocol import SamplingSettings
from tasks.study.grid import Run
from tasks.study.manifests import write_json
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.train.batching import MicroBatch, RolloutGroup, micro_batches, rank_prompt_indices
from tasks.train.checkpoints import TrainerState, find_complete_checkpoint
from tasks.train.context import TrainingContext, open_context
from tasks.train.ledger import PHASES, model_flops, sampling_flops, update_flops
from tasks.train.rollouts import rollout_groups
from tasks.train.run_io import append_metrics, resume, save_final_policy, save_run_checkpoint, training_lock
from tasks.train.update import TrainingDiverged, UpdateTotals

Sums = dict[str, float]


def train_job(params: str, run: dict[str, Any], fingerprint: str) -> dict[str, Any]:
    """A worker's job: trains one run; params as JSON text, the run as its fields."""
    torch.use_deterministic_algorithms(True, warn_only=torch.cuda.is_available())
    study, experiment = Params.model_validate_json(params), Run(**run)
    torch.set_num_threads(study.hardware.threads_per_worker)
    with training_lock(StudyPaths.of(study).run(experiment)):
        context = open_context(study, experiment, fingerprint)
        try:
            facts = train(context)
        except BaseException:
            context.close(reusable=False)
            raise
        context.close()
        return facts


def train(context: TrainingContext) -> dict[str, Any]:
    """Trains a run to its last step, from its last checkpoint if it has one.

    Returns:
        Facts for the run's manifest.

    Raises:
        TrainingDiverged: loss or gradient became NaN or infinite.
    """
    state = resume(context)
    if context.accelerator.is_main_process:
        write_json(StudyPaths.of(context.params).run_params(context.run), context.params.model_dump(mode="json"))
    fingerprint = context.refresh_sampler()
    if state.step == 0:
        fields = _evaluate(context, 0, PhaseTimer())[0]
        append_metrics(context, StepMetrics(step=0, sampler_fingerprint=fingerprint, **fields))
    timer = PhaseTimer()
    for step in range(state.step + 1, context.params.train.steps + 1):
        state, row = train_step(context, step, state, timer)
        append_metrics(context, row)
        timer = PhaseTimer()
        if step % context.params.checkpoints.every == 0 and step < context.params.train.steps:
            # The row is on disk before the checkpoint that follows it, so its seconds stand in the next row.
            with timer.phase("checkpoint"):
                save_run_checkpoint(context, state)
    return save_final_policy(context)


class PhaseTimer:
    """Wall seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to a phase."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = round(self.seconds.get(name, 0.0) + time.perf_counter() - start, 6)


def train_step(
    context: TrainingContext, step: int, state: TrainerState, timer: PhaseTimer
) -> tuple[TrainerState, StepMetrics]:
    """One step: a rollout batch, its updates, the evaluation; returns the counters and the row."""
    params = context.params
    owned = _rank_problem_indices(context, step)
    with timer.phase("rollout"):
        batch = context.train.select([index for indices in owned for index in indices])
        completions = context.sampler.sample(batch, _rollout_settings(context, step))
    context.release_sampler()
    with timer.phase("grading"):
        graded = context.sampler.grade(batch, completions)
        groups = rollout_groups(batch.requests, graded, params.train.objective.advantage_eps)
    with timer.phase("update"):
        minibatches = _minibatches(context, groups, [len(indices) for indices in owned])
        label = f"{context.run.run_id} step {step} (problems {', '.join(g.problem_id for g in groups[:4])}, ...)"
        try:
            totals = context.updater.step(minibatches, label)
        except TrainingDiverged as error:
            last_good = find_complete_checkpoint(StudyPaths.of(params).checkpoints(context.run), context.fingerprint)
            raise TrainingDiverged(f"{error}; last good checkpoint: {last_good or 'none, start again'}") from error
    passes = {"reference": context.updater.reference is not None, "old": not context.updater.sampler_is_exact}
    flops = {"rollout": sampling_flops(context.architecture, batch.requests, completions)} | update_flops(
        context.architecture, minibatches, passes, context.hardware.gradient_checkpointing
    )
    with timer.phase("weights"):
        fingerprint = context.refresh_sampler()
    values, evaluated = _evaluate(context, step, timer) if _is_evaluated(context, step) else ({}, {})
    useful = {"useful": model_flops(context.architecture, minibatches, passes)}
    sums = _all_reduce(context, _rollout_sums(groups) | useful)
    flops = _all_reduce(context, flops | evaluated)
    counts = {name: float(value) for name, value in asdict(graded.stats).items() if isinstance(value, int)}
    reduced = _all_reduce(context, counts)
    grading = {name: int(reduced[name]) for name in counts}
    state = _advance(context, step, state, sums, flops)
    fields = _row(context, state, sums, flops, totals) | values
    if context.peak_flops is not None:
        fields["mfu"] = sums["useful"] / (timer.seconds["update"] * context.peak_flops * context.parallel.world_size)
    return state, StepMetrics(**fields, grading=grading, sampler_fingerprint=fingerprint, seconds=timer.seconds)


def _rank_problem_indices(context: TrainingContext, step: int) -> list[list[int]]:
    """Indices of the problems of this step that this process owns, minibatch by minibatch; the data loops."""
    train, accelerator = context.params.train, context.accelerator
    owned = rank_prompt_indices(train.batch, train.minibatch, accelerator.process_index, accelerator.num_processes)
    start, unique = (step - 1) * train.batch, len(context.train.problems)
    return [[(start + index) % unique for index in indices] for indices in owned]


def _rollout_settings(context: TrainingContext, step: int) -> SamplingSettings:
    sampling, run = context.params.train.sampling, context.run
    return SamplingSettings(
        n=run.group_size,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        max_tokens=sampling.max_completion_tokens,
        seed=run.seed,
        step=step,
    )


def _minibatches(context: TrainingContext, groups: list[RolloutGroup], sizes: list[int]) -> list[list[MicroBatch]]:
    """Packs this process's groups minibatch by minibatch, with equally many micro-batches on every process."""
    accelerator, train = context.accelerator, context.params.train
    budget = context.hardware.token_budget
    own, start = [], 0
    for size in sizes:
        own.append(groups[start : start + size])
        start += size
    counts = torch.tensor(
        [
            [sum(len(c.tokens) for g in part for c in g.completions), sum(len(g.completions) for g in part)]
            for part in own
        ]
    )
    totals = accelerator.reduce(counts.to(accelerator.device), "sum").tolist()
    varlen = supports_varlen(accelerator.device, train.precision, context.architecture.head_dim)
    out = [
        micro_batches(part, budget, (tokens, sequences), train.objective.aggregation, accelerator.device, varlen)
        for part, (tokens, sequences) in zip(own, totals, strict=True)
    ]
    counts = accelerator.gather(torch.tensor([[len(micros) for micros in out]], device=accelerator.device))
    for micros, longest in zip(out, counts.max(0).values.tolist(), strict=True):
        micros.extend(micros[0].as_padding() for _ in range(longest - len(micros)))
    return out


def _is_evaluated(context: TrainingContext, step: int) -> bool:
    return step % context.params.train.heldout.every == 0 or step == context.params.train.steps


def _evaluate(context: TrainingContext, step: int, timer: PhaseTimer) -> tuple[dict[str, Any], Sums]:
    """Held-out evaluation; returns the metrics' fields and the FLOPs of this process's part."""
    heldout, accelerator = context.params.train.heldout, context.accelerator
    settings = SamplingSettings(
        n=heldout.samples,
        temperature=heldout.temperature,
        top_p=heldout.top_p,
        max_tokens=context.params.train.sampling.max_completion_tokens,
        seed=context.run.seed,
        step=step,
        seed_domain="heldout",
    )
    indices = range(accelerator.process_index, len(context.heldout.problems), accelerator.num_processes)
    prompts = context.heldout.select(indices)
    with timer.phase("evaluation"):
        completions = context.sampler.sample(prompts, settings)
        graded = context.sampler.grade(prompts, completions)
    sums = _all_reduce(context, {"right": float(graded.right), "trials": float(len(indices) * heldout.samples)})
    trials, right = int(sums["trials"]), int(sums["right"])
    loss = 1.0 - right / trials
    fields = {"test_loss": loss, "test_loss_se": math.sqrt(loss * (1.0 - loss) / trials)}
    flops = {"evaluation": sampling_flops(context.architecture, prompts.requests, completions)}
    return fields | {"test_trials": trials, "test_right": right}, flops


def _rollout_sums(groups: list[RolloutGroup]) -> Sums:
    """Sums over this process's rollouts."""
    completions = [completion for group in groups for completion in group.completions]
    reward_stds = [torch.tensor(group.rewards).std().item() for group in groups]
    return {
        "groups": float(len(groups)),
        "completions": float(len(completions)),
        "prompt_tokens": float(sum(len(group.prompt) * len(group.completions) for group in groups)),
        "completion_tokens": float(sum(len(completion.tokens) for completion in completions)),
        "truncated": float(sum(completion.finish_reason == "length" for completion in completions)),
        "reward": sum(sum(group.rewards) for group in groups),
        "reward_std": sum(reward_stds),
        "degenerate": float(sum(std == 0.0 for std in reward_stds)),
    }


def _all_reduce(context: TrainingContext, sums: Sums) -> Sums:
    """Sums over processes."""
    if context.accelerator.num_processes == 1:
        return sums
    names = sorted(sums)
    values = torch.tensor([sums[name] for name in names], dtype=torch.float64, device=context.accelerator.device)
    return dict(zip(names, context.accelerator.reduce(values, "sum").tolist(), strict=True))


def _advance(context: TrainingContext, step: int, state: TrainerState, sums: Sums, flops: Sums) -> TrainerState:
    """Counters after the step."""
    return TrainerState(
        step=step,
        data=state.data + context.params.train.batch,
        tokens=state.tokens + int(sums["prompt_tokens"] + sums["completion_tokens"]),
        flops_total=state.flops_total + sum(flops.values()),
    )


def _row(
    context: TrainingContext, state: TrainerState, sums: Sums, flops: Sums, totals: UpdateTotals
) -> dict[str, Any]:
    """The metrics that training itself gives."""
    completions, groups, tokens = sums["completions"], sums["groups"], max(totals.tokens, 1.0)
    return {
        "step": state.step,
        "epoch": state.data / len(context.train.problems),
        "data": state.data,
        "tokens": state.tokens,
        "compute": published_compute(context.model.n_params, state.tokens),
        "flops": {name: flops.get(name, 0.0) for name in PHASES},
        "flops_total": state.flops_total,
        "reward_mean": sums["reward"] / completions,
        "reward_std": sums["reward_std"] / groups,
        "degenerate_groups": sums["degenerate"] / groups,
        "loss": totals.loss / len(totals.grad_norms),
        "kl": totals.kl / tokens if context.updater.reference is not None else None,
        "entropy": totals.neg_logprob_sum / tokens,
        "clip_fraction": totals.clipped / tokens,
        "grad_norm": sum(totals.grad_norms) / len(totals.grad_norms),
        "mismatch_kl": totals.mismatch_kl_sum / max(totals.num_compared, 1.0),
        "mismatch_share": totals.ratio_out_of_band / max(totals.num_compared, 1.0),
        "prompt_tokens": int(sums["prompt_tokens"]),
        "completion_tokens": int(sums["completion_tokens"]),
        "completion_length": sums["completion_tokens"] / completions,
        "truncated": sums["truncated"] / completions,
    }
