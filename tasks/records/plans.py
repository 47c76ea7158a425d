"""What the page's plan is made of: draws of a law by size, costs of a step by GPU, and the answer at one budget.

The page computes with it in the browser what `rlscale plan` computes. Arrays of draws are base64 of little-endian
float32 in C order; B draws, Q sizes, K knots at equal distances in log10 X, between which curves are straight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tasks.records.json_files import JsonFile


@dataclass(frozen=True)
class GpuCost:
    """A GPU and what one step of each size costs on it.

    Attributes:
        key: as on the command line.
        name: in words.
        usd_per_hour: price of one GPU for an hour.
        as_of: month of the price.
        gpus: GPUs of a run by size [Q].
        gpu_hours: of one step by size [Q].
    """

    key: str
    name: str
    usd_per_hour: float
    as_of: str
    gpus: list[int]
    gpu_hours: list[float]


@dataclass(frozen=True)
class PlanRow:
    """One size under the budget; no loss where it does not pay for a step. The interval is the 95 % one."""

    size: str
    steps: int
    gpu_hours: float
    usd: float
    loss: float | None
    low: float | None
    high: float | None
    chance_best: float


@dataclass(frozen=True)
class PlanCurve:
    """Loss of one size against the budget, with its 95 % interval."""

    size: str
    budgets: list[float]
    loss: list[float]
    low: list[float]
    high: list[float]


@dataclass(frozen=True)
class MeasuredCurve:
    """Points of one run."""

    run: str
    size: int
    steps: list[float]
    losses: list[float]


@dataclass(frozen=True)
class PlanModel:
    """A plan that can be asked.

    Attributes:
        name: variant or group.
        resource: unit of X.
        law: name of the law.
        reason: why it was taken.
        n: sizes [Q].
        labels: their names.
        rate: X that one step adds [Q].
        flops: of one step, all phases [Q].
        ends: log10 X at which the trajectories end [Q].
        start: log10 X of the first knot [Q].
        spacing: between knots, decades.
        knots: K.
        center: log10 L of the estimate at the knots [Q, K].
        draws: B.
        draws_made: draws of the fit; the first B of them are here.
        curves: log10 L of the draws at the knots [B, Q, K].
        shift: error at unseen sizes [B, Q]; null: there are none.
        drift: error per decade beyond `ends` [B, Q].
        late: seconds of a step, in standard deviations [B, Q].
        spread: standard deviation of log(measured / predicted) seconds of a step.
        prompts: of one step.
        reuse_limit: how often a problem may be seen.
        reuse_source: where that limit comes from.
        gpus: what runs can be made on; the first is the one of the answer.
        budget: of the answer.
        unit: of that budget: gpu-h, flop or usd.
        rows: the answer, lowest loss first.
        picture: losses against the budget.
        measured: the points that the law was fitted to, thinned.
        assumed: sentences about what was read from the points or assumed.
    """

    name: str
    resource: str
    law: str
    reason: str
    n: list[float]
    labels: list[str]
    rate: list[float]
    flops: list[float]
    ends: list[float]
    start: list[float]
    spacing: float
    knots: int
    center: list[list[float]]
    draws: int
    draws_made: int
    curves: str
    shift: str | None
    drift: str
    late: str
    spread: float
    prompts: int
    reuse_limit: float
    reuse_source: str
    gpus: list[GpuCost]
    budget: float
    unit: str
    rows: list[PlanRow]
    picture: list[PlanCurve]
    measured: list[MeasuredCurve]
    assumed: list[str]


@dataclass(frozen=True)
class PlansFile(JsonFile):
    """plans.json: a plan for each variant."""

    NAME: ClassVar[str] = "plans.json"
    plans: list[PlanModel]
