"""The fit stage on a made-up study whose laws are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tasks.fit.data.points import COLUMNS, read_points, scale_points
from tasks.fit.study import FILES, fit_study
from tasks.records.findings import FindingsFile
from tasks.records.fits import FitsFile, LenientFitsFile
from tasks.records.metrics import StepMetrics
from tasks.study.errors import InputError
from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import write_manifest, write_text
from tasks.study.params import Params, load_params
from tasks.study.paths import StudyPaths

ROOT = Path(__file__).resolve().parents[1]
KMAX, N0, TRIALS = 0.12, 8e4, 500
SIZES = {"3k": 3e3, "7k": 7e3, "25k": 25e3, "56k": 56e3, "99k": 99e3, "222k": 222e3, "394k": 394e3}

pytestmark = pytest.mark.slow


def made_up_params(folder: Path, draws: int = 200) -> Params:
    params = load_params(ROOT / "params.yaml")
    grid = params.grid.model_copy(update={"variants": ("base",)})
    fit = params.fit.model_copy(update={"bootstrap_draws": draws})
    study = params.study.model_copy(update={"data_root": str(folder)})
    train = params.train.model_copy(update={"steps": 40})
    return params.model_copy(update={"grid": grid, "fit": fit, "study": study, "train": train})


def write_study(params: Params) -> None:
    layout, rng = StudyPaths.of(params), np.random.default_rng(1)
    models = [
        {"name": f"{size}-base", "size": size, "variant": "base", "path": size, "total": int(n), "n_params": int(n)}
        | {"nominal": n, "digest": "0"}
        for size, n in SIZES.items()
    ]
    layout.stage("pretrain").mkdir(parents=True)
    write_manifest(layout.stage("pretrain"), "pretrain", "m", [], {"models": models})
    for run in expand_grid(params):
        rows = [step_row(run, step, params.train.batch, rng) for step in range(params.train.steps + 1)]
        write_text(layout.metrics(run), "".join(row.line() for row in rows))
        write_manifest(layout.run(run), "train", "r", ["metrics.jsonl"], {})


def step_row(run: Run, step: int, batch: int, rng: np.random.Generator) -> StepMetrics:
    n, data = SIZES[run.size], step * batch
    k = KMAX / (1 + N0 / n)
    harm = 0.1 if run.tau == 100 else 0.0
    level = 0.95 * 10 ** (-k * np.log10(max(data, 1) / 64) + harm * (data > 0))
    wrong = int(rng.binomial(TRIALS, min(level, 1.0)))
    tokens = data * 160
    right = TRIALS - wrong
    counts = {"test_loss": wrong / TRIALS, "test_trials": TRIALS, "test_right": right}
    return StepMetrics(step, data=data, tokens=tokens, compute=6 * n * tokens, flops_total=13 * n * tokens, **counts)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Params:
    params = made_up_params(tmp_path_factory.mktemp("study"))
    write_study(params)
    fit_study(params)
    return params


def test_stage_writes_every_file_it_promises_and_a_manifest(fitted: Params) -> None:
    folder = StudyPaths.of(fitted).stage("fit")
    assert all((folder / name).is_file() for name in FILES)
    assert json.loads((folder / "manifest.json").read_text())["runs"] == 27


def test_runs_without_lenient_losses_are_fitted_strictly_and_named(fitted: Params) -> None:
    lenient = LenientFitsFile.read(StudyPaths.of(fitted).stage("fit"))
    assert lenient.fits == []
    assert lenient.missing is not None
    assert lenient.missing.startswith("no lenient loss in the rows of 27 runs, base-")


def test_stage_run_again_does_nothing(fitted: Params) -> None:
    folder = StudyPaths.of(fitted).stage("fit")
    before = (folder / "fits.json").stat().st_mtime_ns
    fit_study(fitted)
    assert (folder / "fits.json").stat().st_mtime_ns == before


def test_stage_writes_equal_bytes_for_equal_runs(fitted: Params) -> None:
    folder = StudyPaths.of(fitted).stage("fit")
    before = {name: (folder / name).read_bytes() for name in FILES}
    (folder / "manifest.json").unlink()
    fit_study(fitted)
    assert {name: (folder / name).read_bytes() for name in FILES} == before


def test_points_hold_the_declared_columns_and_every_step(fitted: Params) -> None:
    rows = read_points(StudyPaths.of(fitted).stage("fit") / "points.parquet")
    assert list(rows[0]) == list(COLUMNS)
    assert len(rows) == 27 * 41


def test_scaling_fits_leave_out_step_zero_and_the_reuse_axis(fitted: Params) -> None:
    rows = read_points(StudyPaths.of(fitted).stage("fit") / "points.parquet")
    points = scale_points(rows, "base", "compute", fitted.train.group_size)
    assert points is not None
    assert len(points) == 21 * 40
    assert points.step.min() == 1


def test_primary_fit_recovers_the_law_behind_the_runs(fitted: Params) -> None:
    fits = FitsFile.read(StudyPaths.of(fitted).stage("fit")).fits
    primary = next(fit for fit in fits if fit.primary and fit.resource == "data")
    kmax, n0 = primary.coefficients["Kmax"], primary.coefficients["N0"]
    assert kmax.low < KMAX < kmax.high
    assert n0.low < N0 < n0.high
    largest = primary.by_size[-1]
    assert largest.k.value == pytest.approx(KMAX / (1 + N0 / 394e3), rel=0.1)


def test_findings_judge_every_published_claim(fitted: Params) -> None:
    findings = {row.key: row for row in FindingsFile.read(StudyPaths.of(fitted).stage("fit")).findings}
    assert {row.claim for row in findings.values()} == {1, 2, 3, 4}
    assert findings["larger_better_data"].verdict == "supported"
    assert findings["k_grows_data"].verdict == "supported"
    assert findings["reuse_harm_at_100"].verdict == "supported"
    ratio = findings["reuse_harm_at_100"].effect
    assert ratio.low < 10**0.1 < ratio.high


def test_metrics_are_flat_numbers(fitted: Params) -> None:
    metrics = json.loads((StudyPaths.of(fitted).stage("fit") / "metrics.json").read_text())
    assert metrics["base.data.Kmax"] == pytest.approx(KMAX, rel=0.15)
    assert all(value is None or isinstance(value, float) for value in metrics.values())


def test_missing_run_is_refused_by_name(tmp_path: Path) -> None:
    params = made_up_params(tmp_path)
    write_study(params)
    run = expand_grid(params)[0]
    StudyPaths.of(params).metrics(run).write_text("")
    with pytest.raises(InputError, match=run.run_id):
        fit_study(params)
