"""The stage as one function of the params: problems in, parquet files and a manifest out.

Order of work: evaluation sets; one pass over the source (row rules, overlap with evaluation sets); duplicates; the
held-out split where the source brings no held-out set, and overlap with it; thinning to steps x batch; curriculum;
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
from tasks.prepare.evaluation_sets import EvaluationSet, shared_problems, ungradable_ids
from tasks.prepare.row_store import RowStore, write_rows
from tasks.prepare.selection import Selection, clean, select
from tasks.prepare.summary import describe_training
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
        folder: takes scratch files while this runs.

    Raises:
        InputError: the source is missing or damaged.
    """
    with _workspace(params, folder) as work:
        collected = collect_sources(params, work)
        remover = clean(params, collected.kept, collected.scanned.overlaps, collected.source.label, work.rejections)
        rows = remover.rows[np.isnan(collected.kept.rates[remover.rows])]
        return collected.kept.problems(rows)


def _build(params: Params, folder: Path) -> tuple[list[str], Mapping[str, Any]]:
    _clear(folder)
    with _workspace(params, folder) as work:
        collected = collect_sources(params, work)
        kept, sets, source = collected.kept, collected.sets, collected.source
        remover = clean(params, kept, collected.scanned.overlaps, source.label, work.rejections)
        chosen = select(params, remover, any(s.name == "heldout" for s in sets))
        names = _write(StudyPaths.of(params), sets, chosen, kept.table)
        counts = collected.scanned.counts
        facts = {
            "content": _content(StudyPaths.of(params), names),
            "inputs": {"train": {"source": source.label, **source.facts}} | {s.name: s.input for s in sets},
            "counts": {"read": counts["read"], "train": len(chosen.train), "rejected": dict(work.rejections.counts)}
            | {"repaired": counts["repaired"], "carried_instruction": counts["carried"]},
            "evaluation": {"heldout": params.prepare.heldout} | {s.name: len(s.rows) for s in sets},
            "unscorable": {s.name: ungradable_ids(s, work.pool) for s in sets},
            "overlap": {"training": chosen.overlap, "evaluation": shared_problems(sets, params.prepare)},
            "training": describe_training(kept, chosen.train, collected.ruler),
        }
    return [*names, "rejected.parquet"], facts


@contextlib.contextmanager
def _workspace(params: Params, folder: Path) -> Iterator[PrepareResources]:
    """The grading pool, the list of rejected rows and the scratch file, which is removed at the end."""
    hardware, scratch_file = params.hardware, folder / ".scratch.arrow"
    try:
        with (
            GradingPool(hardware.grading_workers, hardware.grading_seconds, hardware.grading_memory_mb) as pool,
            Rejections(folder / "rejected.parquet") as rejections,
            RowStore(scratch_file) as scratch,
        ):
            yield PrepareResources(pool, rejections, scratch)
    finally:
        scratch_file.unlink(missing_ok=True)


def _write(layout: StudyPaths, sets: list[EvaluationSet], chosen: Selection, table: Any) -> list[str]:
    """Writes all problem sets; returns their names relative to the stage's folder."""
    folder = layout.stage("prepare")
    written = []
    for evaluation in sets:
        write_problems(layout.benchmark(evaluation.name), evaluation.problems, evaluation.name)
        written.append(layout.benchmark(evaluation.name))
    if chosen.heldout is not None:
        write_rows(layout.heldout, table, chosen.heldout, "heldout")
        written.append(layout.heldout)
    write_rows(layout.train_problems, table, chosen.train, "train")
    written.append(layout.train_problems)
    for tau, places in chosen.subsets.items():
        write_rows(layout.subset(tau), table, chosen.train[places], f"tau_{tau}")
        written.append(layout.subset(tau))
    return [str(path.relative_to(folder)) for path in written]


def _content(layout: StudyPaths, names: list[str]) -> str:
    folder = layout.stage("prepare")
    return digest_text(canonical_json({name: digest_file(folder / name) for name in names}))


def _clear(folder: Path) -> None:
    """Removes sets of an earlier grid, which nothing would list any more, and what a killed run left."""
    for pattern in ("reuse/*.parquet", "benchmarks/*.parquet", ".scratch.arrow", ".*.tmp", "*/.*.tmp"):
        for path in folder.glob(pattern):
            path.unlink()
