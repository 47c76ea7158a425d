"""`rlscale grade FILE`: grades a file of (answer, gold) pairs and audits the verdicts with two other graders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import JsonOption, print_json, print_table

if TYPE_CHECKING:
    from tasks.grading.audit import Audit


def grade(
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines or parquet with columns answer, gold[, data_source].")],
    data_source: Annotated[str, typer.Option(help="Chooses the scorer of rows that name none.")] = "math",
    workers: Annotated[int, typer.Option(min=1, help="Grading processes.")] = 2,
    seconds: Annotated[float, typer.Option(min=0.1, help="Limit for one answer, in seconds.")] = 5.0,
    examples: Annotated[int, typer.Option(min=0, help="Disagreements to show; JSON has all of them.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Grade (answer, gold) pairs, strictly and leniently, and show where two other graders disagree."""
    from tasks.grading.answer_table import read_answers
    from tasks.grading.audit import audit
    from tasks.grading.pool.pool import GradingPool

    answers = read_answers(file, data_source)
    with GradingPool(workers=workers, seconds=seconds) as pool:
        result = audit(answers, pool)
    if as_json:
        print_json(
            {
                "summary": result.summary(),
                "disagreements": result.rows(),
                "reader_disagreements": result.reading_rows(),
                "verdicts": [
                    {name: getattr(each, name) for name in ("status", "strict", "lenient", "reason")}
                    for each in result.verdicts
                ],
            }
        )
        return
    _show(result, examples)


def _show(result: Audit, examples: int) -> None:
    from rich.markup import escape

    summary = [
        [name, f"{value:.3f}" if isinstance(value, float) else str(value)] for name, value in result.summary().items()
    ]
    print_table("Verdicts", ["what", "value"], summary)
    columns = ["row", "data source", "gold", "answer", "ours"]
    for title, rows, more in (
        ("plain math-verify", result.rows(), ["math-verify", "our reason"]),
        ("the independent reader", result.reading_rows(), ["reader", "read as (answer against gold)", "our reason"]),
    ):
        shown = [[escape(str(value)) for value in row.values()] for row in rows[:examples]]
        print_table(f"Disagreement with {title} ({len(shown)} of {len(rows)} shown)", columns + more, shown)
