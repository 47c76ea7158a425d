"""The fit stage as a plain function: points of all runs in, the files of `tasks.records.fits` out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tasks.fit.analysis import Analysis, analyze, fit_one
from tasks.fit.data.measurements import Measurements
from tasks.fit.data.points import RESOURCES, collect_points, reuse_points, scale_points, write_points
from tasks.fit.laws import SIZE_LAWS
from tasks.fit.plan_models import study_plan
from tasks.fit.solver.estimate import Options
from tasks.fit.solver.parameters import LineParameters
from tasks.fit.validation.findings import larger_is_better, law_holds, learning_grows, pair_effects, reuse_is_harmless
from tasks.fit.validation.flags import initial_models_flag
from tasks.fit.validation.reuse_effect import reuse_effects
from tasks.fit.validation.variances import variance_parts
from tasks.records.findings import Finding, FindingsFile, ReuseEffect
from tasks.records.fits import BackTestsFile, DrawColumns, FitsFile, ForecastsFile, LenientFitsFile, PointColumns
from tasks.records.json_files import to_json
from tasks.records.plans import PlansFile
from tasks.records.variances import VariancesFile
from tasks.study.fingerprints import GRADER_VERSION, fit_fingerprint
from tasks.study.grid import expand_grid
from tasks.study.manifests import atomic_path, once, write_json
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

FILES = [
    PointColumns.NAME,
    FitsFile.NAME,
    DrawColumns.NAME,
    BackTestsFile.NAME,
    ForecastsFile.NAME,
    FindingsFile.NAME,
    LenientFitsFile.NAME,
    PlansFile.NAME,
    VariancesFile.NAME,
    "metrics.json",
]


def fit_study(params: Params) -> dict[str, Any]:
    """Fits the laws to the study's runs, once, and returns the manifest of `data/fit/`."""
    runs = expand_grid(params)
    folder = StudyPaths.of(params).stage("fit")

    def body() -> tuple[list[str], Mapping[str, Any]]:
        rows = collect_points(params, runs, GRADER_VERSION)
        write_points(folder / PointColumns.NAME, rows)
        analyses = _analyses(rows, params)
        write_results(folder, rows, analyses, params)
        return FILES, {"points": len(rows), "runs": len(runs)}

    return once(folder, "fit", fit_fingerprint(params, runs), body)[0]


def options_of(params: Params) -> Options:
    """The fit block as options."""
    fit = params.fit
    return Options(fit.objective, fit.skip_steps, fit.equal_weight_per_size, fit.bootstrap_draws, fit.seed)


def primary_points(
    rows: list[dict[str, Any]], variant: str, resource: str, params: Params
) -> tuple[Measurements, str] | None:
    """The points of one variant along one resource and the law reported first; None where there are no points.

    A study of too few sizes for the law in the params is fitted by `loglinear`.
    """
    points = scale_points(rows, variant, resource, params.train.group_size)
    return None if points is None else (points, params.fit.law if len(points.sizes) >= 3 else "loglinear")


def _analyses(rows: list[dict[str, Any]], params: Params) -> dict[tuple[str, str], Analysis]:
    """By variant and resource."""
    out: dict[tuple[str, str], Analysis] = {}
    for variant in params.grid.variants:
        for resource in RESOURCES:
            if primary := primary_points(rows, variant, resource, params):
                points, law = primary
                analysis = analyze(points, variant, law, SIZE_LAWS, options_of(params))
                if flag := initial_models_flag(_initial_models(params, variant)):
                    first = analysis.fits[0]
                    analysis.fits[0] = replace(first, flags=[*first.flags, flag])
                out[variant, resource] = analysis
    return out


def _initial_models(params: Params, variant: str) -> list[int]:
    """How many initial models the runs of each size start from."""
    models: dict[str, set[str]] = {}
    for run in expand_grid(params):
        if run.variant == variant and run.tau == 1:
            models.setdefault(run.size, set()).add(run.model)
    return [len(names) for names in models.values()]


def write_results(
    folder: Path, rows: list[dict[str, Any]], analyses: dict[tuple[str, str], Analysis], params: Params
) -> None:
    """Writes every file but the points."""
    values = list(analyses.values())
    reuse = [effect for variant in params.grid.variants for effect in _reuse(rows, analyses, variant, params)]
    findings = [finding for variant in params.grid.variants for finding in _findings(analyses, reuse, variant)]
    FitsFile(fits=[fit for a in values for fit in a.fits]).write(folder)
    BackTestsFile(
        backtests=[test for a in values for test in a.tests],
        windows=[row for a in values for row in a.windows],
        saturation=[a.saturation for a in values if a.saturation is not None],
        choice=[a.choice for a in values],
    ).write(folder)
    ForecastsFile(forecasts=[row for a in values for row in a.forecasts]).write(folder)
    pairs = [pair for (variant, _), a in analyses.items() for pair in pair_effects(a.per_size, variant)]
    FindingsFile(findings=findings, reuse=reuse, pairs=pairs).write(folder)
    fits = {variant: a.primary for (variant, resource), a in analyses.items() if resource == "compute"}
    PlansFile(plans=[study_plan(variant, fit, params) for variant, fit in fits.items()]).write(folder)
    lenient = _lenient_fits(rows, analyses, params)
    lenient.write(folder)
    VariancesFile(sizes=variance_parts(rows, expand_grid(params), params.train.group_size)).write(folder)
    slopes = {
        f"{fit.variant}.{fit.resource}.k_lenient.{row.size}": row.k for fit in lenient.fits for row in fit.by_size
    }
    flat = _metrics(analyses, findings) | {name: value.value for name, value in slopes.items()}
    write_json(folder / "metrics.json", to_json(flat))
    _write_draws(folder / DrawColumns.NAME, analyses)


def _lenient_fits(
    rows: list[dict[str, Any]], analyses: dict[tuple[str, str], Analysis], params: Params
) -> LenientFitsFile:
    """The primary laws fitted to the lenient losses: right final answers counted wherever they stand."""
    fits = []
    for (variant, resource), analysis in analyses.items():
        points = scale_points(rows, variant, resource, params.train.group_size, "test_loss_lenient")
        if points is not None:
            fits.append(fit_one(points, variant, analysis.primary.result.law.name, options_of(params)))
    without = sorted({row["run_id"] for row in rows if row["test_loss_lenient"] is None})
    missing = f"no lenient loss in the rows of {len(without)} runs, {without[0]} the first of them" if without else None
    return LenientFitsFile(fits=fits, missing=missing)


def _reuse(
    rows: list[dict[str, Any]], analyses: dict[tuple[str, str], Analysis], variant: str, params: Params
) -> list[ReuseEffect]:
    points = reuse_points(rows, variant, params.train.group_size)
    if points is None or (variant, "data") not in analyses:
        return []
    scale = analyses[variant, "data"].points
    several = len(scale.runs) > len(scale.sizes)
    size = next(float(row["n_params"]) for row in rows if row["variant"] == variant and row["tau"] > 1)
    return reuse_effects(points, options_of(params), variant, scale if several else None, size)


def _findings(analyses: dict[tuple[str, str], Analysis], reuse: list[ReuseEffect], variant: str) -> list[Finding]:
    out: list[Finding] = []
    for (name, _), analysis in analyses.items():
        if name != variant:
            continue
        out += [larger_is_better(analysis.per_size, variant), law_holds(analysis.primary, analysis.per_size, variant)]
        if analysis.saturation is not None:
            out += learning_grows(analysis.per_size, analysis.saturation)
    out += reuse_is_harmless([effect for effect in reuse if effect.variant == variant], variant)
    return sorted(out, key=lambda finding: finding.claim)


def _metrics(analyses: dict[tuple[str, str], Analysis], findings: list[Finding]) -> dict[str, float | None]:
    """Flat numbers: `base.compute.Kmax`, `base.compute.r2`, `findings.supported` and so on."""
    flat: dict[str, float | None] = {}
    for (variant, resource), analysis in analyses.items():
        first, prefix = analysis.fits[0], f"{variant}.{resource}"
        flat |= {f"{prefix}.{name}": value.value for name, value in first.coefficients.items()}
        flat |= {f"{prefix}.r2": first.r2_linear, f"{prefix}.rmse_log": first.rmse_log}
        flat |= {f"{prefix}.k.{row.size}": row.k.value for row in first.by_size}
        last_50 = [test for test in analysis.tests if test.law == first.law and test.kind == "last_50"]
        flat |= {f"{prefix}.last_50.rmse_log": test.rmse_log for test in last_50}
    for verdict in ("supported", "contradicted", "undecided"):
        flat[f"findings.{verdict}"] = float(sum(finding.verdict == verdict for finding in findings))
    return flat


def _write_draws(path: Path, analyses: dict[tuple[str, str], Analysis]) -> None:
    """Draws of the primary laws in long form."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts = []
    for (variant, resource), analysis in analyses.items():
        fit = analysis.primary
        points, draws = fit.result.points, fit.draws
        named = dict(draws.coefficients())
        k = draws.k(points.sizes)
        named |= {f"k:{points.label(size)}": k[:, i] for i, size in enumerate(points.sizes)}
        if isinstance(draws, LineParameters) and draws.law.free_levels:
            named |= {f"E:{points.label(size)}": draws.levels[:, i] for i, size in enumerate(points.sizes)}
        for name, values in named.items():
            count = len(values)
            columns = {"variant": [variant] * count, "resource": [resource] * count}
            columns |= {"law": [fit.result.law.name] * count, "name": [name] * count}
            parts.append(pa.table(columns | {"draw": np.arange(count), "value": np.asarray(values, dtype=float)}))
    with atomic_path(path) as temporary:
        pq.write_table(pa.concat_tables(parts), temporary)
