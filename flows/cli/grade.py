"""`rlscale grade FILE`: grades a file of (answer, gold) pairs and audits the verdicts with a second grader."""

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
    """Grade (answer, gold) pairs and show where plain math-verify disagrees."""
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
                "verdicts": [
                    {"status": each.status, "score": each.score, "reason": each.reason} for each in result.verdicts
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
    rows = [[escape(str(value)) for value in row.values()] for row in result.rows()[:examples]]
    print_table(
        f"Disagreement with plain math-verify ({len(rows)} of {len(result.disagreements)} shown)",
        ["row", "data source", "gold", "answer", "ours", "second", "our reason"],
        rows,
    )
