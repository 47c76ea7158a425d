"""The stage as one function of the params: problem sources in, parquet files and a manifest out.

Order of work: evaluation sets; one pass over the source (row rules, overlap with evaluation sets); duplicates; the
held-out split where the source brings no held-out set, and overlap with it; subsampling to steps x batch; curriculum;
reuse subsets. The manifest's `content` digests the problem sets alone, so that what only explains them (counts, the
list of rejected rows) redoes nothing downstream.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tasks.grading import GradingPool
from tasks.prepare.checks.rejections import Rejections
from tasks.prepare.collect_sources import PrepareResources, collect_sources
from tasks.prepare.describe import training_facts
from tasks.prepare.evaluation_sets import EvaluationSet, shared_problems, ungradable_ids
from tasks.prepare.row_store import RowStore, write_rows
from tasks.prepare.selection import Selection, clean, select
from tasks.records.problems import Problem, write_problems
from tasks.study.fingerprints import prepare_fingerprint
from tasks.study.manifests import canonical_json, digest_file, digest_text, once
from tasks.study.params import Params
from tasks.study.paths import StudyPaths


def prepare(params: Params) -> dict[str, Any]:
    """Writes the problem sets of a study, unless its folder proves them written.

    Args:
        params: the study.

    Returns:
        The stage's manifest: counts, digests of inputs and outputs.

    Raises:
        InputError: the source is missing, damaged or too small.
    """
    folder = StudyPaths.of(params).stage("prepare")
    manifest, _ = once(folder, "prepare", prepare_fingerprint(params), lambda: _build(params, folder))
    return manifest


def unknown_problems(params: Params, folder: Path) -> list[Problem]:
    """Returns the cleaned problems of the source that have no pass rate, for measuring it.

    Args:
        params: the study.
        folder: holds temporary files while this runs.

    Raises:
        InputError: the source is missing or damaged.
    """
    with _open_resources(params, folder) as resources:
        collected = collect_sources(params, resources)
        stored = collected.stored
        rows = clean(params, stored, collected.overlaps, collected.source.label, resources.rejections).rows
        return stored.problems(rows[np.isnan(stored.rates[rows])])


def _build(params: Params, folder: Path) -> tuple[list[str], Mapping[str, Any]]:
    _clear(folder)
    with _open_resources(params, folder) as resources:
        collected = collect_sources(params, resources)
        stored, sets, source = collected.stored, collected.sets, collected.source
        row_filter = clean(params, stored, collected.overlaps, source.label, resources.rejections)
        selection = select(params, row_filter, any(s.name == "heldout" for s in sets))
        names = _write(StudyPaths.of(params), sets, selection, stored.table)
        counts, rejected = collected.counts, dict(resources.rejections.counts)
        facts = {
            "content": _content(StudyPaths.of(params), names),
            "inputs": {"train": {"source": source.label, **source.facts}} | {s.name: s.input for s in sets},
            "counts": {"read": counts["read"], "train": len(selection.train), "rejected": rejected}
            | {"repaired": counts["repaired"], "carried_instruction": counts["had_instruction"]},
            "evaluation": {"heldout": params.prepare.heldout} | {s.name: len(s.rows) for s in sets},
            "unscorable": {s.name: ungradable_ids(s, resources.pool) for s in sets},
            "overlap": {"training": selection.overlap, "evaluation": shared_problems(sets, params.prepare)},
            "training": training_facts(stored, selection.train, collected.length_checker),
        }
    return [*names, "rejected.parquet"], facts


@contextlib.contextmanager
def _open_resources(params: Params, folder: Path) -> Iterator[PrepareResources]:
    """Opens the grading pool, the list of rejected rows and the row store, whose file is removed at the end."""
    hardware, store_file = params.hardware, folder / ".scratch.arrow"
    try:
        with (
            GradingPool(hardware.grading_workers, hardware.grading_seconds, hardware.grading_memory_mb) as pool,
            Rejections(folder / "rejected.parquet") as rejections,
            RowStore(store_file) as row_store,
        ):
            yield PrepareResources(pool, rejections, row_store)
    finally:
        store_file.unlink(missing_ok=True)


def _write(layout: StudyPaths, sets: list[EvaluationSet], selection: Selection, table: Any) -> list[str]:
    """Writes all problem sets; returns their names relative to the stage's folder."""
    folder = layout.stage("prepare")
    written = []
    for evaluation in sets:
        write_problems(layout.benchmark(evaluation.name), evaluation.problems, evaluation.name)
        written.append(layout.benchmark(evaluation.name))
    if selection.heldout is not None:
        write_rows(layout.heldout, table, selection.heldout, "heldout")
        written.append(layout.heldout)
    write_rows(layout.train_problems, table, selection.train, "train")
    written.append(layout.train_problems)
    for tau, indices in selection.subsets.items():
        write_rows(layout.subset(tau), table, selection.train[indices], f"tau_{tau}")
        written.append(layout.subset(tau))
    return [str(path.relative_to(folder)) for path in written]


def _content(layout: StudyPaths, names: list[str]) -> str:
    folder = layout.stage("prepare")
    return digest_text(canonical_json({name: digest_file(folder / name) for name in names}))


def _clear(folder: Path) -> None:
    """Removes sets of an earlier grid, which no manifest would list any more, and what a killed run left."""
    for pattern in ("reuse/*.parquet", "benchmarks/*.parquet", ".scratch.arrow", ".*.tmp", "*/.*.tmp"):
        for path in folder.glob(pattern):
            path.unlink()
