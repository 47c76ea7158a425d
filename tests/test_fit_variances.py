"""Variance of a loss by source: known parts are found again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.fit.validation.variances import variance_parts
from tasks.report.sections.variation import held
from tasks.study.grid import Run

MODELS, RUNS, ANSWERS = 0.05, 0.02, 0.03
SEEDS, EVALUATIONS = 400, 40


def _run(seed: int, tau: int, model_seed: int | None) -> Run:
    return Run(f"s{seed}-t{tau}", "56k", "base", seed, tau, 8, 100, model_seed)


def _rows(runs: list[Run], rng: np.random.Generator) -> list[dict[str, object]]:
    """A falling line for every run, shifted by its model, by itself and at every evaluation."""
    shift: dict[str, float] = {}
    rows: list[dict[str, object]] = []
    for run in runs:
        level = shift.setdefault(run.model, rng.normal(0, MODELS)) + rng.normal(0, RUNS)
        steps = np.arange(EVALUATIONS + 1)
        y = -0.4 - 0.1 * np.log10(np.maximum(steps, 1)) + level + rng.normal(0, ANSWERS, len(steps))
        rows += [
            {"run_id": run.run_id, "step": int(s), "test_loss": float(10**v)} for s, v in zip(steps, y, strict=True)
        ]
    return rows


@pytest.mark.parametrize("own", [True, False])
def test_known_variances_are_found_again(own: bool) -> None:
    rng = np.random.default_rng(3)
    scale = [_run(seed, 1, seed if own else None) for seed in range(SEEDS)]
    reuse = [replace(_run(0, tau, 0 if own else None), run_id=f"r{i}", tau=2) for i, tau in enumerate(range(SEEDS))]
    (part,) = variance_parts(_rows([*scale, *reuse], rng), [*scale, *reuse], 8)
    assert (part.seeds, part.own_models) == (SEEDS, own)
    assert part.answers == pytest.approx(ANSWERS**2, rel=0.05)
    assert part.between_seeds == pytest.approx(RUNS**2 + own * MODELS**2, rel=0.25)
    assert part.between_runs == pytest.approx(RUNS**2, rel=0.25)
    assert part.models == (pytest.approx(MODELS**2, rel=0.25) if own else None)
    assert ("of models and of runs" in held([part])) == own


def test_what_a_study_cannot_tell_is_null_and_short_runs_are_left_out() -> None:
    runs = [_run(0, 1, 0), _run(1, 1, 1), _run(0, 100, 0)]
    rows = _rows(runs, np.random.default_rng(0))
    (part,) = variance_parts(rows, runs, 8)
    assert part.repeats == 1, "a run with its prompts reused a hundred times is no repeat"
    assert (part.between_runs, part.models) == (None, None)
    (single,) = variance_parts(rows, runs[:1], 8)
    assert (single.between_seeds, single.own_models) == (None, False)
    assert variance_parts([row for row in rows if row["step"] < 8], runs, 8) == []
