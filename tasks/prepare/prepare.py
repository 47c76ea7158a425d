"""The stage as one pure function of the params: problems in, parquet files and a manifest out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tasks.errors import InputError
from tasks.identity import prepare_mark
from tasks.layout import Layout
from tasks.params import Params
from tasks.prepare.curriculum import curriculum, strata, thin
from tasks.prepare.generated import as_problem, draw, generate, keys
from tasks.prepare.split import split_heldout
from tasks.prepare.subsets import nested_subsets
from tasks.records import Problem, write_problems
from tasks.store import once


def prepare(params: Params) -> dict[str, Any]:
    """Writes the problem sets of a study, unless its folder proves them written.

    Args:
        params: the study.

    Returns:
        The stage's manifest: counts, digests of inputs and outputs.

    Raises:
        InputError: the source is missing, damaged or too small.
    """
    folder = Layout.of(params).stage("prepare")
    manifest, _ = once(folder, "prepare", prepare_mark(params), lambda: _build(params))
    return manifest


def _build(params: Params) -> tuple[list[str], Mapping[str, Any]]:
    spec = params.prepare
    benchmarks = {
        b.name: [as_problem(e, spec.source, b.name) for e in draw(b.level, b.problems, spec.seed)]
        for b in spec.benchmarks
    }
    wanted = params.train.steps * params.train.batch
    barred = set().union(*(keys(problems) for problems in benchmarks.values()))
    pool = generate(spec.source, wanted + spec.heldout, spec.seed, barred)
    heldout, train = split_heldout(pool, spec.heldout, spec.easy_threshold, spec.seed)
    if len(train) < wanted:
        raise InputError(f"prepare.source: train.steps x train.batch = {wanted} problems wanted, {len(train)} are left")
    train = curriculum(thin(curriculum(train, spec.seed), wanted), spec.seed)
    sets = {"train.parquet": train, "heldout.parquet": curriculum(heldout, spec.seed), "rejected.parquet": []}
    sets |= {f"benchmarks/{name}.parquet": problems for name, problems in benchmarks.items()}
    factors = params.grid.reuse.factors if params.grid.reuse else ()
    for tau, rows in nested_subsets(strata(train), factors, spec.seed).items():
        sets[f"reuse/tau_{tau}.parquet"] = [train[row] for row in rows]
    return list(sets), _write(Layout.of(params), sets)


def _write(layout: Layout, sets: Mapping[str, Sequence[Problem]]) -> Mapping[str, Any]:
    for name, problems in sets.items():
        write_problems(layout.stage("prepare") / name, problems, name.removesuffix(".parquet"))
    return {"rows": {name: len(problems) for name, problems in sets.items()}}
