"""What the report shows, read from the folders of the earlier stages; the only module of the stage that opens them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.records.metrics import StepMetrics, read_metrics
from tasks.records.models import ModelRecord, read_models
from tasks.records.scores import Score, read_scores
from tasks.report.files import read_columns, read_json
from tasks.study.errors import InputError
from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import read_manifest
from tasks.study.params import Params
from tasks.study.paths import STAGES, StudyPaths

Floats = npt.NDArray[np.float64]
Record = dict[str, Any]


@dataclass(frozen=True)
class RunLog:
    """A run with its model and its rows, step 0 first."""

    run: Run
    model: ModelRecord
    rows: list[StepMetrics]

    @property
    def seconds(self) -> float:
        """Wall seconds of all its steps."""
        return sum(sum(row.seconds.values()) for row in self.rows)

    def curve(self, name: str) -> tuple[Floats, Floats]:
        """Steps and values of a metric, rows without it left out."""
        pairs = [(row.step, getattr(row, name)) for row in self.rows if getattr(row, name) is not None]
        return np.array([step for step, _ in pairs], dtype=float), np.array([value for _, value in pairs], dtype=float)


@dataclass(frozen=True)
class Evidence:
    """Everything the page is made of.

    Attributes:
        params: the study.
        runs: every run of the grid.
        points: columns of `data/fit/points.parquet`.
        draws: columns of `data/fit/bootstrap.parquet`.
        fits: records of fits.json.
        tests: backtests.json, whole: backtests, windows, saturation, choice.
        forecasts: records of forecasts.json.
        judged: findings.json, whole: findings, reuse, pairs.
        scores: final evaluation, initial checkpoints included.
        manifests: of the stages, by name; a stage without one is left out.
    """

    params: Params
    runs: list[RunLog]
    points: dict[str, npt.NDArray[Any]]
    draws: dict[str, npt.NDArray[Any]]
    fits: list[Record]
    tests: dict[str, list[Record]]
    forecasts: list[Record]
    judged: dict[str, list[Record]]
    scores: list[Score]
    manifests: dict[str, Record]

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
        return list(dict.fromkeys(fit["resource"] for fit in self.fits))

    @cached_property
    def repeated(self) -> bool:
        """Whether sizes have several runs, so that intervals hold run-to-run variation."""
        return len(self.params.grid.seeds) > 1

    def primary(self, variant: str, resource: str) -> Record | None:
        """The fit of the law that the params name, None where there were too few points."""
        chosen = (f for f in self.fits if f["primary"] and (f["variant"], f["resource"]) == (variant, resource))
        return next(chosen, None)

    def drawn(self, variant: str, resource: str, name: str) -> Floats:
        """Draws of a coefficient of the primary law; empty where it has none."""
        draws = self.draws
        chosen = (draws["variant"] == variant) & (draws["resource"] == resource) & (draws["name"] == name)
        return np.asarray(draws["value"][chosen], dtype=float)

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


def read_evidence(params: Params) -> Evidence:
    """Reads the study.

    Raises:
        InputError: a stage before the report has not finished.
    """
    layout = StudyPaths.of(params)
    fit = layout.stage("fit")
    models = read_models(layout.stage("pretrain"))
    manifests = {stage: read_manifest(layout.stage(stage)) for stage in STAGES}
    for stage in ("fit", "evaluate"):
        if manifests[stage] is None:
            raise InputError(f"{layout.stage(stage)}: not finished; run `rlscale {stage}` first")
    return Evidence(
        params=params,
        runs=[_log(layout, run, models[run.model]) for run in expand_grid(params)],
        points=read_columns(layout.points),
        draws=read_columns(fit / "bootstrap.parquet"),
        fits=read_json(layout.fits)["fits"],
        tests=read_json(fit / "backtests.json"),
        forecasts=read_json(fit / "forecasts.json")["forecasts"],
        judged=read_json(layout.findings),
        scores=read_scores(layout.scores),
        manifests={stage: manifest for stage, manifest in manifests.items() if manifest is not None},
    )


def _log(layout: StudyPaths, run: Run, model: ModelRecord) -> RunLog:
    rows = read_metrics(_existing(layout.metrics(run), run))
    return RunLog(run, model, rows)


def _existing(path: Path, run: Run) -> Path:
    if not path.is_file():
        raise InputError(f"{path}: no metrics; run `rlscale train {run.run_id}` first")
    return path
