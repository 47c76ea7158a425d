"""Final policies on the held-out set and the benchmarks, beside the checkpoints they started from."""

from __future__ import annotations

from tasks.records.scores import Score
from tasks.report.evidence import Evidence
from tasks.report.html import Cell, Html, Row, details, paragraph, table
from tasks.report.numbers import count, fixed, percent
from tasks.report.sections.section import Pictures, Section, section, shown


def build(evidence: Evidence, pictures: Pictures) -> Section:
    """The section."""
    caption = (
        "pass@1 of the trained policies (mean over seeds, mean 95 % Wilson interval of one seed) and of their initial "
        "checkpoints, by size."
    )
    settings = evidence.params.evaluate
    parts = [
        paragraph(f"Sampled at temperature {settings.temperature:g} with the {settings.engine} engine; pass@k is the "
                  "unbiased estimator, intervals count problems as trials."),
        shown(pictures, "scores", caption, "pass@1 before and after training"),
        details(f"All {len(evidence.scores)} scores", _table(evidence)),
    ]  # fmt: skip
    return section("scores", "Benchmarks", parts)


def _table(evidence: Evidence) -> Html:
    ks = sorted({int(k) for score in evidence.scores for k in score.pass_at_k if int(k) > 1})
    columns = ["policy", "benchmark", "problems", "samples each", "pass@1", "95 % interval", *(f"pass@{k}" for k in ks)]
    columns += ["cut short", "mean length", "unjudged", "tokens/s"]
    rows = [_row(score, ks) for score in evidence.scores]
    return table(columns, rows, range(2, len(columns)), sortable=True)


def _row(score: Score, ks: list[int]) -> Row:
    return [
        score.run_id,
        score.benchmark,
        str(score.problems),
        str(score.samples),
        Cell(fixed(score.pass_at_1), score.pass_at_1),
        f"[{fixed(score.low)}, {fixed(score.high)}]",
        *(fixed(score.pass_at_k.get(str(k))) for k in ks),
        Cell(percent(score.truncated), score.truncated),
        fixed(score.mean_length, 1),
        str(score.unjudged),
        Cell(count(score.tokens_per_second), score.tokens_per_second),
    ]
