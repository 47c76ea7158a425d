"""Everything a study's problems come from: evaluation sets read whole, the training source read in one pass.

In that pass rows that break a rule are listed, the others go to the row store. The rules that look at one row at a time
are applied here; duplicates and boilerplate need the whole set.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tasks.grading import GradingPool
from tasks.prepare.checks.gradability import ungradable_answers
from tasks.prepare.checks.lengths import PromptLengthChecker
from tasks.prepare.checks.rejections import Rejection, Rejections
from tasks.prepare.evaluation_sets import EvaluationSet, in_curriculum_order, read_set
from tasks.prepare.overlap.contamination import EvaluationIndex, RowOverlaps
from tasks.prepare.overlap.minhash import Hashes, lsh_bands, minhash_signatures, rows_per_band
from tasks.prepare.pass_rates import read_pass_rates
from tasks.prepare.row_store import RowStore, StoredRows
from tasks.prepare.sources.rows import Raw, Row, RowRejected, read_row
from tasks.prepare.sources.source import Source, benchmark_source, heldout_source, training_source
from tasks.study.errors import InputError
from tasks.study.params import Params, Prepare

_MAX_LISTED_LENGTH = 2000


@dataclass(frozen=True)
class PrepareResources:
    """What the stage needs while it runs: the grading pool, the list of rejected rows, the rows that passed."""

    pool: GradingPool
    rejections: Rejections
    row_store: RowStore


@dataclass(frozen=True)
class Rules:
    """What one row at a time is checked with.

    Attributes:
        spec: the prepare block.
        pool: grades ground truths.
        length_checker: measures prompts; None: not checked.
        index: the evaluation problems.
        measured: pass rates by problem id, for rows that have none.
    """

    spec: Prepare
    pool: GradingPool
    length_checker: PromptLengthChecker | None
    index: EvaluationIndex
    measured: dict[str, float]


@dataclass(frozen=True)
class CollectedSources:
    """What was read.

    Attributes:
        sets: evaluation sets; the held-out one among them where the source brings it.
        source: the training source.
        counts: rows of it: read, repaired, with an instruction of their own.
        overlaps: overlaps with evaluation problems by row of `stored`, boilerplate still among them.
        stored: rows that passed the row rules.
        length_checker: measures prompts, where the study names a tokenizer.
    """

    sets: list[EvaluationSet]
    source: Source
    counts: Counter[str]
    overlaps: RowOverlaps
    stored: StoredRows
    length_checker: PromptLengthChecker | None


def collect_sources(params: Params, resources: PrepareResources) -> CollectedSources:
    """Reads the evaluation sets, then the training source.

    Raises:
        InputError: a source is missing or damaged, or an evaluation set has an unreadable row.
    """
    spec = params.prepare
    sets = _evaluation_sets(params)
    entries = [entry for evaluation in sets for entry in evaluation.entries]
    index = EvaluationIndex(entries, spec.cleaning.overlap_similarity, spec.cleaning.decontaminate_ngram)
    source = training_source(params, {entry.problem_id.partition("/")[2] for entry in entries})
    length_checker = PromptLengthChecker.of(params)
    rules = Rules(spec, resources.pool, length_checker, index, read_pass_rates(spec.pass_rates))
    counts, overlaps = _scan(source, rules, resources)
    return CollectedSources(sets, source, counts, overlaps, resources.row_store.finish(), length_checker)


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


def _scan(source: Source, rules: Rules, resources: PrepareResources) -> tuple[Counter[str], RowOverlaps]:
    """Reads the training source batch by batch; returns its counts and its overlaps with evaluation problems."""
    row_store, rejections = resources.row_store, resources.rejections
    counts: Counter[str] = Counter()
    overlaps: RowOverlaps = []
    for batch in source.open():
        rows, origins = _readable(batch, counts["read"], source, rules, rejections)
        counts["read"] += len(batch)
        rows, origins = _usable(rows, origins, source, rules, rejections)
        counts["repaired"] += sum(row.repaired for row in rows)
        counts["had_instruction"] += sum(row.had_instruction for row in rows)
        texts = [row.normalized for row in rows]
        signatures = _signatures(texts, rules.spec)
        batch_overlaps = rules.index.find(texts, signatures) if rules.index.entries else []
        overlaps += [(row_store.num_rows + row, hits) for row, hits in enumerate(batch_overlaps) if hits]
        row_store.add(rows, origins, _bands(signatures, rules.spec))
    return counts, overlaps


def _readable(
    batch: Sequence[Raw | None], start: int, source: Source, rules: Rules, rejections: Rejections
) -> tuple[list[Row], list[int]]:
    """Turns records into rows; returns them with their numbers in the source."""
    rows, origins = [], []
    for number, raw in enumerate(batch, start=start):
        try:
            if raw is None:
                raise RowRejected("schema", "the record is not a JSON object")
            rows.append(_with_measured(read_row(raw, rules.spec, source.columns), rules.measured))
            origins.append(number)
        except RowRejected as error:
            text = None if raw is None else str(raw.get("problem", raw.get("prompt")))[:_MAX_LISTED_LENGTH]
            storable = text.encode(errors="replace").decode().replace("\x00", "?") if text is not None else None
            rejections.add(Rejection(source.label, number, error.rule, error.detail, None, storable))
    return rows, origins


def _with_measured(row: Row, measured: dict[str, float]) -> Row:
    if row.problem.pass_rate is not None or row.problem.problem_id not in measured:
        return row
    return row.with_pass_rate(measured[row.problem.problem_id])


def _usable(
    rows: list[Row], origins: list[int], source: Source, rules: Rules, rejections: Rejections
) -> tuple[list[Row], list[int]]:
    """Leaves out rows whose ground truth cannot be graded and rows whose prompt is too long."""
    problems = [row.problem for row in rows]
    reasons = {row: ("answer", why) for row, why in ungradable_answers(problems, rules.pool).items()}
    if rules.length_checker is not None:
        reasons = {row: ("long", why) for row, why in rules.length_checker.too_long(problems).items()} | reasons
    for row, (rule, why) in sorted(reasons.items()):
        problem = problems[row]
        text = problem.messages[-1][1]
        rejections.add(Rejection(source.label, origins[row], rule, why, problem.problem_id, text))
    usable = [row for row in range(len(rows)) if row not in reasons]
    return [rows[row] for row in usable], [origins[row] for row in usable]


def _signatures(texts: list[str], spec: Prepare) -> Hashes | None:
    thresholds = spec.cleaning.near_duplicate_similarity, spec.cleaning.overlap_similarity
    return minhash_signatures(texts) if min(thresholds) < 1.0 and texts else None


def _bands(signatures: Hashes | None, spec: Prepare) -> Hashes:
    threshold = spec.cleaning.near_duplicate_similarity
    if signatures is None or threshold == 1.0:
        return np.empty((0, 0), dtype=np.uint64)
    return lsh_bands(signatures, rows_per_band(threshold))
