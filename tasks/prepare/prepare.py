"""The stage as one function of the params: problems in, parquet files and a manifest out.

Order of work: evaluation sets; one pass over the source (row rules, overlap with evaluation sets); duplicates; the
held-out split where the source brings no held-out set, and overlap with it; thinning to steps x batch; curriculum;
reuse subsets. The manifest's `content` digests the problem sets alone, so that what only explains them (counts, the
list of rejected rows) redoes nothing downstream.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.errors import InputError
from tasks.grading import GradingPool
from tasks.identity import prepare_mark
from tasks.layout import Layout
from tasks.params import Params
from tasks.prepare.contamination import EvaluationIndex
from tasks.prepare.evaluation import EvaluationSet, in_curriculum_order, read_set, shared_problems, unscorable_ids
from tasks.prepare.lengths import Ruler
from tasks.prepare.pass_rates import read_pass_rates
from tasks.prepare.rejections import Rejections
from tasks.prepare.scan import Rules, scan
from tasks.prepare.scratch import Scratch, write_rows
from tasks.prepare.selection import Selection, select
from tasks.prepare.sources import benchmark_source, heldout_source, training_source
from tasks.prepare.statistics import describe_training
from tasks.records import write_problems
from tasks.store import canonical_json, digest_file, digest_text, once


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
    manifest, _ = once(folder, "prepare", prepare_mark(params), lambda: _build(params, folder))
    return manifest


def _build(params: Params, folder: Path) -> tuple[list[str], Mapping[str, Any]]:
    _clear(folder)
    hardware = params.hardware
    scratch_file = folder / ".scratch.arrow"
    try:
        with (
            GradingPool(hardware.grading_workers, hardware.grading_seconds, hardware.grading_memory_mb) as pool,
            Rejections(folder / "rejected.parquet") as rejections,
            Scratch(scratch_file) as scratch,
        ):
            return _build_with(params, pool, rejections, scratch)
    finally:
        scratch_file.unlink(missing_ok=True)


def _build_with(
    params: Params, pool: GradingPool, rejections: Rejections, scratch: Scratch
) -> tuple[list[str], Mapping[str, Any]]:
    spec, layout = params.prepare, Layout.of(params)
    sets = _evaluation_sets(params)
    index = EvaluationIndex(
        [entry for evaluation in sets for entry in evaluation.entries],
        spec.cleaning.overlap_similarity,
        spec.cleaning.decontaminate_ngram,
    )
    drawn = {entry.problem_id.partition("/")[2] for entry in index.entries}
    source = training_source(params, drawn)
    ruler = Ruler.of(params)
    rules = Rules(spec, pool, ruler, index, read_pass_rates(spec.pass_rates))
    scanned = scan(source, rules, scratch, rejections)
    kept = scratch.finish()
    chosen = select(params, kept, scanned.overlaps, any(s.name == "heldout" for s in sets), source.label, rejections)
    names = _write(layout, sets, chosen, kept.table)
    facts = {
        "content": _content(layout, names),
        "inputs": {"train": {"source": source.label, **source.facts}} | {s.name: s.input for s in sets},
        "counts": {"read": scanned.counts["read"], "train": len(chosen.train), "rejected": dict(rejections.counts)}
        | {"repaired": scanned.counts["repaired"], "carried_instruction": scanned.counts["carried"]},
        "evaluation": {s.name: len(s.rows) for s in sets} | {"heldout": spec.heldout},
        "unscorable": {s.name: unscorable_ids(s, pool) for s in sets},
        "overlap": {"training": chosen.overlap, "evaluation": shared_problems(sets, spec)},
        "training": describe_training(kept, chosen.train, ruler),
    }
    return [*names, "rejected.parquet"], facts


def _evaluation_sets(params: Params) -> list[EvaluationSet]:
    spec = params.prepare
    sets = [read_set(b.name, benchmark_source(params, b), spec) for b in spec.benchmarks]
    source = heldout_source(params)
    if source is None:
        return sets
    heldout = read_set("heldout", source, spec)
    if len(heldout.rows) != spec.heldout:
        raise InputError(f"{source.label}: {len(heldout.rows)} held-out problems, prepare.heldout says {spec.heldout}")
    ordered = tuple(in_curriculum_order(heldout.rows, spec.seed))
    return [EvaluationSet("heldout", ordered, heldout.input), *sets]


def _write(layout: Layout, sets: list[EvaluationSet], chosen: Selection, table: Any) -> list[str]:
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


def _content(layout: Layout, names: list[str]) -> str:
    folder = layout.stage("prepare")
    return digest_text(canonical_json({name: digest_file(folder / name) for name in names}))


def _clear(folder: Path) -> None:
    """Removes sets of an earlier grid, which nothing would list any more."""
    for path in [*folder.glob("reuse/*.parquet"), *folder.glob("benchmarks/*.parquet")]:
        path.unlink()
