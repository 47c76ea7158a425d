"""`StepMetrics`, a line of a run's `metrics.jsonl`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tasks.study.errors import InputError

CLOCK = ("seconds", "written_at")
"""Fields that differ between equal runs."""


@dataclass(frozen=True)
class StepMetrics:
    """One training step. Step 0 is the evaluation before training: its training values are null, its counters 0.

    Attributes:
        step: 1-based step, 0 before training.
        epoch: how many times the run's unique prompts have been seen, fraction included.
        data: prompts seen so far, with repeats (D).
        tokens: prompt + completion tokens of training so far (T).
        compute: C = 6 N T so far, FLOPs, with N the non-embedding parameter count.
        flops: FLOPs of this step by phase (architecture-aware): rollout, reference, old, update, evaluation.
        flops_total: sum over phases and steps so far.
        mfu: fraction of the devices' bf16 peak that the update's necessary FLOPs took; null where the peak is unknown.
        reward_mean: mean reward (the score that `train.reward` names) of the step's completions, before the update.
        reward_std: mean over groups of the within-group (unbiased) standard deviation.
        degenerate_groups: fraction of groups whose rewards are all equal (no gradient from them).
        test_loss: L = 1 - pass@1 on the held-out problems after the step's update; null where not evaluated.
        test_loss_se: its binomial standard error.
        test_trials: graded held-out answers behind it.
        test_right: how many were right and stood in their form (strict).
        test_loss_lenient: the test loss with the right final answers counted wherever they stand; null in rows of
            versions that did not record it.
        test_right_lenient: how many those were.
        loss: objective value, mean over the step's minibatches.
        kl: mean k3 KL to the reference policy per token, null where the coefficient is 0.
        entropy: mean token entropy of the policy on the rollouts, nats, estimated as -mean log-prob at T = 1.
        clip_fraction: fraction of tokens where the clipped term was active.
        grad_norm: mean global gradient norm before clipping.
        mismatch_kl: mean token KL (k3) between sampler and trainer log-probs before the first update.
        mismatch_share: fraction of tokens with sampler/trainer ratio outside [0.9, 1.1].
        prompt_tokens: prompt tokens of the step, counted once per completion as published.
        completion_tokens: completion tokens of the step.
        completion_length: mean completion length, tokens, end-of-sequence counted.
        truncated: fraction of completions that hit the length limit.
        grading: counts of the step's verdicts: graded, right, right_lenient, unjudged, timed_out, fast_path,
            remembered, retried; see `tasks.grading.GradeStats`.
        sampler_fingerprint: digest of the weights the sampler used.
        seconds: wall seconds by phase: rollout, grading, update (log-prob passes included), weights (to the sampler),
            evaluation, checkpoint (the one before this step).
        written_at: when the row was written, seconds since 1970; null in rows of versions that did not record it.
    """

    step: int
    epoch: float = 0.0
    data: int = 0
    tokens: int = 0
    compute: float = 0.0
    flops: dict[str, float] = field(default_factory=dict)
    flops_total: float = 0.0
    mfu: float | None = None
    reward_mean: float | None = None
    reward_std: float | None = None
    degenerate_groups: float | None = None
    test_loss: float | None = None
    test_loss_se: float | None = None
    test_trials: int | None = None
    test_right: int | None = None
    test_loss_lenient: float | None = None
    test_right_lenient: int | None = None
    loss: float | None = None
    kl: float | None = None
    entropy: float | None = None
    clip_fraction: float | None = None
    grad_norm: float | None = None
    mismatch_kl: float | None = None
    mismatch_share: float | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    completion_length: float | None = None
    truncated: float | None = None
    grading: dict[str, int] = field(default_factory=dict)
    sampler_fingerprint: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    written_at: float | None = None

    def outcome(self) -> dict[str, Any]:
        """The row without what may differ between equal runs."""
        return {name: value for name, value in asdict(self).items() if name not in CLOCK}

    def line(self) -> str:
        """The row as one JSON line, newline included."""
        return json.dumps(asdict(self), allow_nan=False) + "\n"


def read_metrics(path: Path) -> list[StepMetrics]:
    """Reads a run's rows; an unfinished last line (a killed writer) is left out.

    Raises:
        InputError: a complete line is not a metrics row.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    columns = {entry.name for entry in fields(StepMetrics)}
    rows = []
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), start=1):
        try:
            value = json.loads(line)
        except json.JSONDecodeError:
            value = None
        if not isinstance(value, dict) or not set(value) <= columns or "step" not in value:
            raise InputError(f"{path}: line {number} is not a metrics row")
        rows.append(StepMetrics(**value))
    return rows
