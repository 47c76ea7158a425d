"""Everything a study's problems come from, read and checked row by row."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.grading import GradingPool
from tasks.prepare.checks.lengths import PromptLengthChecker
from tasks.prepare.checks.rejections import Rejections
from tasks.prepare.evaluation_sets import EvaluationSet, in_curriculum_order, read_set
from tasks.prepare.overlap.contamination import EvaluationIndex
from tasks.prepare.pass_rates import read_pass_rates
from tasks.prepare.row_store import RowStore, StoredRows
from tasks.prepare.scan import Rules, ScanResult, scan
from tasks.prepare.sources.source import Source, benchmark_source, heldout_source, training_source
from tasks.study.errors import InputError
from tasks.study.params import Params


@dataclass(frozen=True)
class PrepareResources:
    """What the work needs while it runs."""

    pool: GradingPool
    rejections: Rejections
    scratch: RowStore


@dataclass(frozen=True)
class CollectedSources:
    """What was read.

    Attributes:
        sets: evaluation sets; the held-out one among them where the source brings it.
        source: the training source.
        scanned: counts and overlaps of the pass over it.
        kept: rows that passed the row rules.
        ruler: measures prompts, where the study names a tokenizer.
    """

    sets: list[EvaluationSet]
    source: Source
    scanned: ScanResult
    kept: StoredRows
    ruler: PromptLengthChecker | None


def collect_sources(params: Params, work: PrepareResources) -> CollectedSources:
    """Reads the evaluation sets, then the training source.

    Raises:
        InputError: a source is missing or damaged, or an evaluation set has an unreadable row.
    """
    spec = params.prepare
    sets = _evaluation_sets(params)
    entries = [entry for evaluation in sets for entry in evaluation.entries]
    index = EvaluationIndex(entries, spec.cleaning.overlap_similarity, spec.cleaning.decontaminate_ngram)
    source = training_source(params, {entry.problem_id.partition("/")[2] for entry in entries})
    ruler = PromptLengthChecker.of(params)
    rules = Rules(spec, work.pool, ruler, index, read_pass_rates(spec.pass_rates))
    scanned = scan(source, rules, work.scratch, work.rejections)
    return CollectedSources(sets, source, scanned, work.scratch.finish(), ruler)


def _evaluation_sets(params: Params) -> list[EvaluationSet]:
    spec = params.prepare
    sets = [read_set(benchmark.name, benchmark_source(params, benchmark), spec) for benchmark in spec.benchmarks]
    source = heldout_source(params)
    if source is None:
        return sets
    heldout = read_set("heldout", source, spec)
    if len(heldout.rows) != spec.heldout:
        raise InputError(f"{source.label}: {len(heldout.rows)} held-out problems, prepare.heldout says {spec.heldout}")
    ordered = tuple(in_curriculum_order(heldout.rows, spec.seed))
    return [EvaluationSet("heldout", ordered, heldout.input), *sets]
