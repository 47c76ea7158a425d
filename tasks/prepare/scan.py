"""One pass over a source: rows that break a rule are listed, the others go to the scratch file.

The rules that look at one row at a time are applied here; duplicates and boilerplate need the whole set.
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
from tasks.prepare.overlap.contamination import EvaluationIndex, Overlap
from tasks.prepare.overlap.minhash import Hashes, lsh_bands, minhash_signatures, rows_per_band
from tasks.prepare.row_store import RowStore
from tasks.prepare.sources.rows import Raw, Row, RowRejected, read_row
from tasks.prepare.sources.source import Source
from tasks.study.params import Prepare


@dataclass(frozen=True)
class Rules:
    """What one row at a time is checked with.

    Attributes:
        spec: the prepare block.
        pool: grades gold answers.
        ruler: measures prompts; None: not checked.
        index: the evaluation problems.
        measured: pass rates by problem id, for rows that have none.
    """

    spec: Prepare
    pool: GradingPool
    ruler: PromptLengthChecker | None
    index: EvaluationIndex
    measured: dict[str, float]


@dataclass(frozen=True)
class ScanResult:
    """What a pass found.

    Attributes:
        counts: rows read, repaired, carrying an instruction.
        overlaps: overlaps with evaluation problems by scratch row, boilerplate still among them.
    """

    counts: Counter[str]
    overlaps: list[tuple[int, list[Overlap]]]


def scan(source: Source, rules: Rules, scratch: RowStore, rejections: Rejections) -> ScanResult:
    """Reads a source batch by batch.

    Args:
        source: the training problems.
        rules: the checks.
        scratch: takes the rows that pass.
        rejections: takes the others.
    """
    counts: Counter[str] = Counter()
    overlaps: list[tuple[int, list[Overlap]]] = []
    for batch in source.open():
        rows, origins = _readable(batch, counts["read"], source, rules, rejections)
        counts["read"] += len(batch)
        rows, origins = _sound(rows, origins, source, rules, rejections)
        counts["repaired"] += sum(row.repaired for row in rows)
        counts["carried"] += sum(row.had_instruction for row in rows)
        texts = [row.normalized for row in rows]
        signature = _signatures(texts, rules.spec)
        found = rules.index.find(texts, signature) if rules.index.entries else []
        overlaps += [(scratch.rows + place, hits) for place, hits in enumerate(found) if hits]
        scratch.add(rows, origins, _bands(signature, rules.spec))
    return ScanResult(counts, overlaps)


def _readable(
    batch: Sequence[Raw | None], start: int, source: Source, rules: Rules, rejections: Rejections
) -> tuple[list[Row], list[int]]:
    rows, origins = [], []
    for number, raw in enumerate(batch, start=start):
        try:
            if raw is None:
                raise RowRejected("schema", "the record is not a JSON object")
            rows.append(_with_measured(read_row(raw, rules.spec, source.columns), rules.measured))
            origins.append(number)
        except RowRejected as refusal:
            text = None if raw is None else str(raw.get("problem", raw.get("prompt")))[:2000]
            safe = text.encode(errors="replace").decode().replace("\x00", "?") if text is not None else None
            rejections.add(Rejection(source.label, number, refusal.rule, refusal.detail, None, safe))
    return rows, origins


def _with_measured(row: Row, measured: dict[str, float]) -> Row:
    if row.problem.pass_rate is not None or row.problem.problem_id not in measured:
        return row
    return row.with_pass_rate(measured[row.problem.problem_id])


def _sound(
    rows: list[Row], origins: list[int], source: Source, rules: Rules, rejections: Rejections
) -> tuple[list[Row], list[int]]:
    """Leaves out rows whose gold cannot score and rows whose prompt is too long."""
    problems = [row.problem for row in rows]
    reasons = {place: ("answer", why) for place, why in ungradable_answers(problems, rules.pool).items()}
    if rules.ruler is not None:
        reasons = {place: ("long", why) for place, why in rules.ruler.too_long(problems).items()} | reasons
    for place, (rule, why) in sorted(reasons.items()):
        problem = problems[place]
        text = problem.messages[-1][1]
        rejections.add(Rejection(source.label, origins[place], rule, why, problem.problem_id, text))
    kept = [place for place in range(len(rows)) if place not in reasons]
    return [rows[place] for place in kept], [origins[place] for place in kept]


def _signatures(texts: list[str], spec: Prepare) -> Hashes | None:
    thresholds = spec.cleaning.near_duplicate_similarity, spec.cleaning.overlap_similarity
    return minhash_signatures(texts) if min(thresholds) < 1.0 and texts else None


def _bands(signature: Hashes | None, spec: Prepare) -> Hashes:
    threshold = spec.cleaning.near_duplicate_similarity
    if signature is None or threshold == 1.0:
        return np.empty((0, 0), dtype=np.uint64)
    return lsh_bands(signature, rows_per_band(threshold))
