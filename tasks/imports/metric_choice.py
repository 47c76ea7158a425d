"""Which key of a log is the test metric, and how it becomes a loss L = 1 - pass@1.

A trainer's `loss` is the objective and `eval_loss` a cross-entropy: neither is ever taken. One validation metric is
taken; between two, or between rewards measured on training problems, the choice is the user's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tasks.imports.logged_run import Floats, LoggedRun
from tasks.imports.wandb import UNNAMED
from tasks.study.errors import InputError

_SHARE = (
    r"(?:acc|accuracy|score|avg_score|reward|rewards|pass(?:[@_]?(?:at_)?1)?|pass_rate|solve_rate|correct|exact_match"
    r"|avg@\d+|mean@\d+)"
)
_VALIDATION = (
    re.compile(r"^val-core/.+/mean@\d+$"),
    re.compile(r"^(?:val/)?test_score/.+"),
    re.compile(r"^(?:test|heldout)_loss$"),
    re.compile(
        rf"^(?:val|valid|validation|eval|test|heldout|holdout)[/_](?:.*[/_])?{_SHARE}\d*(?:/mean|/total)?$", re.I
    ),
    re.compile(r"^(?:eval|val|validation|test)[/_](?:.*[/_])?rewards?/.+/mean$", re.I),
    re.compile(r"^(?:eval|val|validation|test)/.*(?:_pass1|pass@1|avg@\d+|mean@\d+)$", re.I),
    re.compile(r"^(?:accuracy|acc|pass@1|pass_at_1|pass_rate|holdout_score|mean@1|score)$", re.I),
    re.compile(rf"^{UNNAMED}$"),
)
_TRAINING = re.compile(r"reward|score|accuracy|\bacc\b|pass@|correct", re.I)
_NOT_MEANS = re.compile(r"(?:std|/min|/max|_min|_max|best@|maj@|length|clip|zero_std|time|count)", re.I)
_LOSS_NAME = re.compile(r"(?:^|[/_])(?:loss|error|error_rate|fail(?:ure)?_rate)$", re.I)


@dataclass(frozen=True)
class Scale:
    """How values of a metric become shares.

    Attributes:
        kind: accuracy (a share of right answers), loss (a share of wrong ones), percent (right, of 100), or None: by
            the metric's name.
        reward: lowest and highest reward, which stand for 0 and 1.
        divide: the number that stands for 1.
    """

    kind: str | None = None
    reward: tuple[float, float] | None = None
    divide: float | None = None


def choose_metric(runs: Iterable[LoggedRun], named: str | None) -> str:
    """The key of the test metric.

    Raises:
        InputError: the named key is in no run; or there is no, or more than one, candidate: all are listed.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run.columns if np.isfinite(run.columns[key]).any()))
    source = next(iter(runs)).source
    if named is not None:
        if named not in keys:
            close = [key for key in keys if named.lower() in key.lower()] or keys
            raise InputError(f"{source}: no metric {named!r}; found {_listed(close)}")
        return named
    if {"test_loss", "test_trials"} <= set(keys):  # this program's own rows
        return "test_loss"
    validation = [key for key in keys if any(pattern.search(key) for pattern in _VALIDATION) and not _not_mean(key)]
    if len(validation) == 1:
        return validation[0]
    if validation:
        raise InputError(
            f"{source}: {len(validation)} validation metrics: {_listed(validation)}; choose one with --metric"
        )
    training = [key for key in keys if _TRAINING.search(key) and not _not_mean(key)]
    if training:
        raise InputError(
            f"{source}: no validation metric; measured on training problems: {_listed(training)}; "
            "choose one with --metric"
        )
    raise InputError(f"{source}: no validation metric; found {_listed(keys)}; choose one with --metric")


def _not_mean(key: str) -> bool:
    return key.startswith("val-aux/") or _NOT_MEANS.search(key) is not None


def _listed(keys: list[str]) -> str:
    shown = ", ".join(keys[:20])
    return shown if len(keys) <= 20 else f"{shown} and {len(keys) - 20} more"


def as_loss(metric: str, values: Floats, scale: Scale, where: str) -> tuple[Floats, str]:
    """Values of a metric as losses, and in words how.

    Args:
        metric: its key.
        values: as logged, NaN for gaps [R].
        scale: how they become shares.
        where: source and run, for messages.

    Returns:
        L in [0, 1] with the same gaps, and e.g. `1 - val-core/math/mean@1`.

    Raises:
        InputError: a value is then no share.
    """
    is_loss = scale.kind == "loss" or (scale.kind is None and _LOSS_NAME.search(metric) is not None)
    if scale.reward is not None:
        low, high = scale.reward
        shares, words = (values - low) / (high - low), f"({metric} - {low:g}) / {high - low:g}"
    elif scale.divide is not None:  # of an accuracy or of a loss
        shares, words = values / scale.divide, f"{metric} / {scale.divide:g}"
    elif scale.kind == "percent":
        shares, words = values / 100.0, f"{metric} / 100"
    else:
        shares, words = values, metric
    if metric == UNNAMED and scale.kind is None and not _rises(shares):
        is_loss = True
    outside = np.flatnonzero((shares < 0) | (shares > 1))
    if len(outside):
        found, known = values[outside[0]], values[np.isfinite(values)]
        span = f"found {found:g}, values from {known.min():g} to {known.max():g}"
        if words != metric:
            raise InputError(f"{where}: {words} leaves 0 to 1: {span}")
        raise InputError(f"{where}: {metric} is no share: {span}; give --percent, --reward LOW HIGH or --divide NUMBER")
    return (shares, words) if is_loss else (1.0 - shares, f"1 - {words}")


def _rises(values: Floats) -> bool:
    known = values[np.isfinite(values)]
    half = len(known) // 2
    return half == 0 or known[half:].mean() >= known[:half].mean()
