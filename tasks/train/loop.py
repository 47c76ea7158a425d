"""The training loop: rollout, grade, update, evaluate, record, checkpoint; again.

Difference from published trainers: a run is a folder. Killed at any moment and started again it continues at its last
checkpoint and ends with the same bytes (seconds aside); every step leaves one typed row in `metrics.jsonl`.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import torch

from tasks.costs.flops import published_compute
from tasks.policy.attention import supports_varlen
from tasks.records.metrics import StepMetrics
from tasks.runtime.run_progress import RunProgressWriter
from tasks.runtime.stop_request import JobStopped, stop_requested, stoppable
from tasks.sampling.prompts import PromptSet
from tasks.sampling.protocol import SamplingSettings
from tasks.study.grid import Run
from tasks.study.manifests import write_json
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.train.balance import balanced_micro_batches
from tasks.train.batching import MicroBatch, RolloutGroup, minibatch_size, pack_micro_batch, rank_prompt_indices
from tasks.train.checkpoint_folder import find_complete_checkpoint
from tasks.train.checkpoint_schedule import CheckpointSchedule
from tasks.train.checkpoints import TrainerState
from tasks.train.context import TrainingContext, open_context
from tasks.train.ledger import PHASES, model_flops, sampling_flops, update_flops
from tasks.train.rollouts import rollout_groups
from tasks.train.run_io import (
    append_metrics,
    checkpoint_writer,
    resume,
    save_final_policy,
    save_run_checkpoint,
    training_lock,
)
from tasks.train.update import TrainingDiverged, UpdateTotals

Sums = dict[str, float]


def train_job(
    params: str, run: dict[str, Any], fingerprint: str, until: int | None = None, close: bool = True
) -> dict[str, Any]:
    """A worker's job: trains one run; params as JSON text, the run as its fields, the rest as `train` takes it."""
    study, experiment = Params.model_validate_json(params), Run(**run)
    use_deterministic_kernels(study.hardware.deterministic or not torch.cuda.is_available())
    torch.set_num_threads(study.hardware.threads_per_worker)
    with stoppable(), training_lock(StudyPaths.of(study).run(experiment)):
        context = open_context(study, experiment, fingerprint)
        try:
            facts = train(context, until, close)
        except BaseException:
            StudyPaths.of(study).run_progress(experiment).unlink(missing_ok=True)
            context.close(reusable=False)
            raise
        context.close()
        return facts


def use_deterministic_kernels(wanted: bool) -> None:
    """Switches PyTorch's deterministic kernels on or off; an operation without one then ends the run.

    Fresh memory is not filled with NaN, which deterministic mode does by default: nothing here reads it, and on a GPU
    it takes 12 to 15 % of an update (Megatron-LM issue 7093).
    """
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    if wanted:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts, after this
    torch.use_deterministic_algorithms(wanted)


def train(context: TrainingContext, until: int | None = None, close: bool = True) -> dict[str, Any]:
    """Trains a run to a step, from its last checkpoint if it has one.

    Args:
        context: the run.
        until: the step; None: the run's last one. A run that has a checkpoint behind it ends there.
        close: whether the run ends with this step and its final policy; otherwise it pauses with a checkpoint.

    Returns:
        Facts for the run's manifest; none for a pause.

    Raises:
        TrainingDiverged: loss or gradient became NaN or infinite.
        JobStopped: the run was asked to stop and did, at the end of a step, with a checkpoint.
    """
    state = resume(context)
    if context.accelerator.is_main_process:
        write_json(StudyPaths.of(context.params).run_params(context.run), context.params.model_dump(mode="json"))
    fingerprint = context.refresh_sampler()
    if state.step == 0:
        fields = _evaluate(context, 0, PhaseTimer())[0]
        append_metrics(context, StepMetrics(step=0, sampler_fingerprint=fingerprint, **fields))
    elif context.sampler.samples_ahead and _is_evaluated(context, state.step):
        _evaluate(context, state.step, PhaseTimer())  # its row is written; the next rollouts come with it as they did
    path = StudyPaths.of(context.params).run_progress(context.run) if context.accelerator.is_main_process else None
    progress = RunProgressWriter(path, context.run.steps)
    timer, checkpoints = PhaseTimer(progress.enter), checkpoint_writer(context)
    schedule = CheckpointSchedule(context.params.checkpoints.every)
    last = context.run.steps if until is None else until
    tokens: int | None = None
    for step in range(state.step + 1, last + 1):
        progress.begin(step, tokens)
        state, row = train_step(context, step, state, timer)
        append_metrics(context, row)
        timer, tokens = PhaseTimer(progress.enter), row.completion_tokens
        stops = context.parallel.any_process(stop_requested())
        due = context.parallel.any_process(schedule.is_due(step))
        pauses = step == last and not close
        if pauses or (step < last and (stops or due)):
            # The row is on disk before the checkpoint that follows it, so its seconds stand in the next row.
            with timer.phase("checkpoint"):
                save_run_checkpoint(context, checkpoints, state)
            if stops:
                checkpoints.wait()
                raise JobStopped(f"{context.run.run_id} stopped after step {step}, as it was asked to")
    checkpoints.wait()
    progress.close()
    return save_final_policy(context) if close else {}


class PhaseTimer:
    """Wall seconds by phase; `entered` is told when one begins."""

    def __init__(self, entered: Callable[[str], None] = lambda _: None) -> None:
        self.seconds: dict[str, float] = {}
        self._entered = entered

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Adds the time spent inside to a phase."""
        self._entered(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Adds seconds to a phase."""
        self.seconds[name] = round(self.seconds.get(name, 0.0) + seconds, 6)


def train_step(
    context: TrainingContext, step: int, state: TrainerState, timer: PhaseTimer
) -> tuple[TrainerState, StepMetrics]:
    """One step: a rollout batch, its updates, the evaluation; returns the counters and the row."""
    params = context.params
    batch, settings, sizes = _rollout_batch(context, step)
    sampled = context.sampler.sample(batch, settings)
    completions = sampled.completions
    timer.add("rollout", sampled.seconds)
    context.release_sampler()
    with timer.phase("grading"):
        graded = context.sampler.grade(batch, completions)
        groups = rollout_groups(batch.requests, graded, params.train)
    with timer.phase("update"):
        minibatches = _minibatches(context, groups, sizes)
        label = f"{context.run.run_id} step {step} (problems {', '.join(g.problem_id for g in groups[:4])}, ...)"
        try:
            totals = context.updater.step(minibatches, step, label)
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


def _rollout_batch(context: TrainingContext, step: int) -> tuple[PromptSet, SamplingSettings, list[int]]:
    """This process's prompts of a step, how they are sampled, and how many belong to each minibatch; the data loops."""
    train, accelerator, run = context.params.train, context.accelerator, context.run
    owned = rank_prompt_indices(train.batch, train.minibatch, accelerator.process_index, accelerator.num_processes)
    start, unique = (step - 1) * train.batch, len(context.train.problems)
    prompts = context.train.select([(start + index) % unique for indices in owned for index in indices])
    settings = SamplingSettings(
        n=run.group_size,
        temperature=train.sampling.temperature,
        top_p=train.sampling.top_p,
        max_tokens=train.sampling.max_completion_tokens,
        seed=run.seed,
        step=step,
    )
    return prompts, settings, [len(indices) for indices in owned]


def _minibatches(context: TrainingContext, groups: list[RolloutGroup], sizes: list[int]) -> list[list[MicroBatch]]:
    """Deals the step's groups out to the processes and packs this one's, equally many micro-batches on each.

    Args:
        context: the run.
        groups: what this process sampled.
        sizes: how many of them belong to each minibatch.
    """
    parallel, train = context.parallel, context.params.train
    own, start = [], 0
    for size in sizes:
        own.append(groups[start : start + size])
        start += size
    device = context.accelerator.device
    varlen = supports_varlen(device, train.precision, context.architecture.head_dim)
    out = []
    for parts in zip(*parallel.all_gather_object(own), strict=True):
        minibatch = [group for part in parts for group in part]
        whole = minibatch_size(minibatch, train.sampling.max_completion_tokens, train.objective)
        ranks = balanced_micro_batches(minibatch, context.hardware.token_budget, parallel.world_size)
        micros = [pack_micro_batch(part, whole, train.objective, device, varlen) for part in ranks[parallel.rank]]
        micros += [micros[0].as_padding()] * (max(map(len, ranks)) - len(micros))
        out.append(micros)
    return out


def _is_evaluated(context: TrainingContext, step: int) -> bool:
    return step % context.params.train.heldout.every == 0 or step == context.run.steps


def _evaluate(context: TrainingContext, step: int, timer: PhaseTimer) -> tuple[dict[str, Any], Sums]:
    """Held-out evaluation; returns the metrics' fields and the FLOPs of this process's part.

    An engine that gains by it samples the next step's rollouts in the same batch: their weights are the same, and two
    long tails become one.
    """
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
    if context.sampler.samples_ahead and step < context.run.steps:
        sampled = context.sampler.sample_with_next((prompts, settings), _rollout_batch(context, step + 1)[:2])
    else:
        sampled = context.sampler.sample(prompts, settings)
    completions = sampled.completions
    timer.add("evaluation", sampled.seconds)
    with timer.phase("evaluation"):
        graded = context.sampler.grade(prompts, completions)
    counts = {"right": graded.right, "lenient": graded.right_lenient, "trials": len(indices) * heldout.samples}
    sums = _all_reduce(context, {name: float(value) for name, value in counts.items()})
    trials, right, lenient = (int(sums[name]) for name in ("trials", "right", "lenient"))
    loss = 1.0 - right / trials
    fields = {"test_loss": loss, "test_loss_se": math.sqrt(loss * (1.0 - loss) / trials)}
    fields |= {"test_trials": trials, "test_right": right}
    fields |= {"test_loss_lenient": 1.0 - lenient / trials, "test_right_lenient": lenient}
    flops = {"evaluation": sampling_flops(context.architecture, prompts.requests, completions)}
    return fields, flops


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
