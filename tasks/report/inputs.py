"""What the report shows, read from the folders of the earlier stages; the only module of the stage that opens them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.records.findings import Finding, FindingsFile, ReuseEffect
from tasks.records.fits import (
    BackTest,
    BackTestsFile,
    DrawColumns,
    FitRecord,
    FitsFile,
    ForecastRecord,
    ForecastsFile,
    LawChoice,
    LenientFitsFile,
    PointColumns,
    WindowFit,
)
from tasks.records.metrics import StepMetrics, read_metrics
from tasks.records.models import ModelRecord, read_models
from tasks.records.plans import PlanModel, PlansFile
from tasks.records.scores import Score, read_scores
from tasks.records.stopping import StoppedRun, read_stopped
from tasks.records.variances import VarianceParts, VariancesFile
from tasks.study.errors import InputError
from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import read_manifest
from tasks.study.params import Params
from tasks.study.paths import STAGES, StudyPaths

Floats = npt.NDArray[np.float64]
Metric = Callable[[StepMetrics], float | None]
SMOOTHING_STEPS = 5


@dataclass(frozen=True)
class RunLog:
    """A run with its model and its rows, step 0 first, and why it was stopped, if it was."""

    run: Run
    model: ModelRecord
    rows: list[StepMetrics]
    stopped: StoppedRun | None = None

    @property
    def seconds(self) -> float:
        """Wall seconds of all its steps."""
        return sum(sum(row.seconds.values()) for row in self.rows)

    def curve(self, metric: Metric) -> dict[int, float]:
        """A metric by step; rows without it are left out."""
        values = ((row.step, metric(row)) for row in self.rows)
        return {step: value for step, value in values if value is not None}


def mean_curve(runs: Sequence[RunLog], metric: Metric) -> tuple[Floats, Floats, Floats]:
    """Several runs as one curve: mean over runs, then a centered running mean over steps.

    Args:
        runs: steps at which not all of them recorded the metric are left out.
        metric: takes the value from a row.

    Returns:
        Steps [S], the mean smoothed over `SMOOTHING_STEPS` steps [S], and the smallest and largest smoothed run at
        each step [2, S].
    """
    curves = [log.curve(metric) for log in runs]
    steps = sorted(set.intersection(*(set(curve) for curve in curves))) if curves else []
    table = [[curve[step] for step in steps] for curve in curves]
    values = np.array(table, dtype=float).reshape(len(curves), len(steps))
    smooth = np.stack([running_mean(row) for row in values]) if len(steps) else values
    return np.array(steps, dtype=float), smooth.mean(axis=0), np.stack([smooth.min(axis=0), smooth.max(axis=0)])


def running_mean(values: Floats, window: int = SMOOTHING_STEPS) -> Floats:
    """Centered mean over `window` values; at the ends over as many as there are on both sides."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    reach = np.minimum(np.minimum(index, len(values) - 1 - index), window // 2)
    return (sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1)


@dataclass(frozen=True)
class StudyResults:
    """Everything the page is made of.

    Attributes:
        params: the study.
        runs: every run of the grid.
        points: measurements of all runs, by column.
        draws: bootstrap draws of the primary laws, by column.
        fits: all laws for each variant and resource.
        lenient: the primary laws on lenient losses.
        backtests: held-out error of all laws.
        windows: primary laws fitted to parts of the runs.
        choices: the law for unseen sizes of each variant and resource.
        forecasts: losses beyond the data.
        plans: what a budget buys, by variant.
        findings: the published claims, judged.
        reuse: effects of data reuse.
        variances: where the variance of a loss comes from, by variant and size.
        scores: final evaluation, initial checkpoints included.
        manifests: of the stages, by name; a stage without one is left out.
    """

    params: Params
    runs: list[RunLog]
    points: PointColumns
    draws: DrawColumns
    fits: list[FitRecord]
    lenient: LenientFitsFile
    backtests: list[BackTest]
    windows: list[WindowFit]
    choices: list[LawChoice]
    forecasts: list[ForecastRecord]
    plans: list[PlanModel]
    findings: list[Finding]
    reuse: list[ReuseEffect]
    variances: list[VarianceParts]
    scores: list[Score]
    manifests: dict[str, dict[str, Any]]

    @cached_property
    def variants(self) -> list[str]:
        """Variants in the order of the params."""
        return list(self.params.grid.variants)

    @cached_property
    def sizes(self) -> list[str]:
        """Sizes of the scale axis, smallest first."""
        n_params = {log.run.size: log.model.n_params for log in self.runs}
        return sorted(self.params.grid.sizes, key=lambda size: n_params[size])

    @cached_property
    def resources(self) -> list[str]:
        """Resources that were fitted, in the order of the fits."""
        return list(dict.fromkeys(fit.resource for fit in self.fits))

    @cached_property
    def repeated(self) -> bool:
        """Whether sizes have several runs, so that intervals hold run-to-run variation."""
        return max(self.runs_by_size.values()) > 1

    @cached_property
    def runs_by_size(self) -> dict[tuple[str, str], int]:
        """Number of runs on the scale axis by variant and size."""
        logs = [log for variant in self.variants for log in self.scale_runs(variant)]
        return dict(Counter((log.run.variant, log.run.size) for log in logs))

    @cached_property
    def primary_fits(self) -> list[FitRecord]:
        """The fits of the law that the params name."""
        return [fit for fit in self.fits if fit.primary]

    def primary(self, variant: str, resource: str) -> FitRecord | None:
        """The primary fit along a resource, None where there were too few points."""
        fits = (fit for fit in self.primary_fits if (fit.variant, fit.resource) == (variant, resource))
        return next(fits, None)

    def draws_of(self, variant: str, resource: str, name: str) -> Floats:
        """Draws of a coefficient of the primary law; empty where it has none."""
        draws = self.draws
        chosen = (draws.variant == variant) & (draws.resource == resource) & (draws.name == name)
        return np.asarray(draws.value[chosen], dtype=float)

    def scale_runs(self, variant: str, size: str | None = None) -> list[RunLog]:
        """Runs of the scale axis: tau = 1 and the study's group size."""
        group = self.params.train.group_size
        return [
            log
            for log in self.runs
            if (log.run.variant, log.run.tau, log.run.group_size) == (variant, 1, group)
            and size in (None, log.run.size)
        ]

    def reuse_runs(self, variant: str) -> list[RunLog]:
        """Runs at the reuse axis' size and group size, tau = 1 included, ordered by tau."""
        axis = self.params.grid.reuse
        if axis is None or not axis.factors:
            return []
        chosen = [log for log in self.runs if (log.run.variant, log.run.size) == (variant, axis.size)]
        chosen = [log for log in chosen if log.run.group_size == self.params.train.group_size]
        return sorted(chosen, key=lambda log: (log.run.tau, log.run.seed))


def read_results(params: Params) -> StudyResults:
    """Reads the study.

    Raises:
        InputError: a stage before the report has not finished.
    """
    layout = StudyPaths.of(params)
    folder = layout.stage("fit")
    models = read_models(layout.stage("pretrain"))
    manifests = {stage: read_manifest(layout.stage(stage)) for stage in STAGES}
    for stage in ("fit", "evaluate"):
        if manifests[stage] is None:
            raise InputError(f"{layout.stage(stage)}: not finished; run `rlscale {stage}` first")
    tests, judged = BackTestsFile.read(folder), FindingsFile.read(folder)
    return StudyResults(
        params=params,
        runs=[_read_run(params, run, models[run.model]) for run in expand_grid(params)],
        points=PointColumns.read(folder),
        draws=DrawColumns.read(folder),
        fits=FitsFile.read(folder).fits,
        lenient=LenientFitsFile.read(folder),
        backtests=tests.backtests,
        windows=tests.windows,
        choices=tests.choice,
        forecasts=ForecastsFile.read(folder).forecasts,
        plans=PlansFile.read(folder).plans,
        findings=judged.findings,
        reuse=judged.reuse,
        variances=VariancesFile.read(folder).sizes,
        scores=read_scores(layout.scores),
        manifests={stage: manifest for stage, manifest in manifests.items() if manifest is not None},
    )


def _read_run(params: Params, run: Run, model: ModelRecord) -> RunLog:
    path = StudyPaths.of(params).metrics(run)
    if not path.is_file():
        raise InputError(f"{path}: no metrics; run `rlscale train {run.run_id}` first")
    return RunLog(run, model, read_metrics(path), read_stopped(params, run))
