r"""Grades a table of answers whose right verdicts are known, and counts the wrong verdicts by kind.

    python benchmarks/grading_cases.py [CSV] [--kind P2 --kind N1] [--list]

The table has the columns answer, gold, data_source, expected (right or wrong) and kind; an empty kind means that the
verdict was right before and must stay so. A verdict that pays for a wrong answer counts twice: as wrong and as paying.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tasks.grading import GradeRequest, GradingPool

CASES = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "cases" / "grading.csv"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("csv", nargs="?", type=Path, default=CASES)
    arguments.add_argument("--kind", action="append", help="only these kinds")
    arguments.add_argument("--list", action="store_true", help="print every wrong verdict")
    options = arguments.parse_args()
    with options.csv.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if not options.kind or row["kind"] in options.kind]
    with GradingPool(workers=2, seconds=5.0) as pool:
        verdicts = pool.grade([GradeRequest(row["data_source"], row["answer"], row["gold"]) for row in rows])
    total, wrong, paying = Counter[str](), Counter[str](), Counter[str]()
    for row, verdict in zip(rows, verdicts, strict=True):
        kind = row["kind"] or "was right"
        total[kind] += 1
        if verdict.correct != (row["expected"] == "right"):
            wrong[kind] += 1
            paying[kind] += verdict.correct
            if options.list:
                print(f"{kind}: {row['answer'][:150]!r} for {row['gold'][:100]!r}: {verdict.status}, {verdict.reason}")
    print(f"{'kind':28} {'cases':>6} {'wrong':>6} {'paying':>6}")
    for kind in sorted(total, key=lambda name: (name[0], len(name), name)):
        print(f"{kind:28} {total[kind]:6} {wrong[kind]:6} {paying[kind]:6}")
    print(f"{'all':28} {total.total():6} {wrong.total():6} {paying.total():6}")


if __name__ == "__main__":
    main()
