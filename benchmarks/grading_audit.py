r"""What an audit finds: how many wrong verdicts it lists, and how often it lists a right one.

    python benchmarks/grading_audit.py [--cases FILE] [--golds N [--data FOLDER]] [--list]

The cases are a CSV with the columns answer, gold, data_source, expected (right or wrong) and kind. `--golds N` adds
pairs made of N gold answers of the math sets (see `grading_pairs`), whose right verdict is known by construction.
Counted for each of the two graders of an audit: listed of our wrong verdicts, listed of our right ones, and how often
its own opinion is right. `--list` prints the wrong verdicts that no grader lists and the right ones that the
independent reader lists.
"""

from __future__ import annotations

import argparse
import csv
import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from grading_pairs import DATA, gold_answers, pairs_of

from tasks.grading import GradeRequest, GradingPool
from tasks.grading.audit import audit
from tasks.grading.registry import scorer_for

CASES = DATA.parent / "cases" / "grading.csv"


@dataclass(frozen=True)
class Case:
    """An answer whose right verdict is known."""

    request: GradeRequest
    right: bool
    kind: str


def read_cases(path: Path) -> list[Case]:
    csv.field_size_limit(1 << 27)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        Case(GradeRequest(row["data_source"], row["answer"], row["gold"]), row["expected"] == "right", row["kind"])
        for row in rows
        if scorer_for(row["data_source"]).name in ("math", "number")
    ]


def made_cases(number: int, folder: Path) -> list[Case]:
    golds = random.Random(0).sample(list(dict.fromkeys(gold_answers(folder=folder))), number)
    pairs = [pair for gold in golds for pair in pairs_of(gold, random.Random(gold))]
    return [Case(GradeRequest("math", pair.completion, pair.gold), pair.spelling != "perturbed", pair.spelling)
            for pair in pairs if pair.presentation == "boxed"]  # fmt: skip


def report(title: str, cases: list[Case], listing: bool) -> None:
    with GradingPool(workers=2, seconds=5.0) as pool:
        found = audit([case.request for case in cases], pool)
    wrong = {row for row, case in enumerate(cases) if found.verdicts[row].correct != case.right}
    by_math_verify = {each.row for each in found.disagreements}
    by_reader = {each.row for each in found.reading_disagreements}
    print(f"{title}: {len(cases)} answers, our verdict is wrong on {len(wrong)}")
    for name, listed in (
        ("math-verify", by_math_verify),
        ("reader", by_reader),
        ("either", by_math_verify | by_reader),
    ):
        print(
            f"  {name:12} lists {len(listed & wrong)} of {len(wrong)} wrong verdicts, {len(listed - wrong)} of "
            f"{len(cases) - len(wrong)} right ones"
        )
    opinions = Counter(
        "cannot tell" if verdict.status == "unjudged" else "right" if verdict.correct == case.right else "wrong"
        for verdict, case in zip(found.reader_verdicts, cases, strict=True)
    )
    print(f"  the reader's own opinion: {dict(opinions)}; {found.reader_stats.seconds:.1f} s")
    paying = {row for row in wrong if found.verdicts[row].correct}
    print(f"  of {len(paying)} wrong verdicts that pay the reader lists {len(paying & by_reader)}")
    if listing:
        missed = [("not listed", row) for row in sorted(wrong - by_math_verify - by_reader)]
        for what, row in [*missed, *(("listed though right", row) for row in sorted(by_reader - wrong))]:
            request = cases[row].request
            print(f"    {what}: {cases[row].kind} {request.completion[:90]!r} gold {request.ground_truth[:60]!r}: "
                  f"{found.reader_verdicts[row].reason[:200]}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=Path, default=CASES)
    parser.add_argument("--golds", type=int, help="also pairs made of so many gold answers")
    parser.add_argument("--data", type=Path, default=DATA, help="where the math sets are")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    report("cases", read_cases(options.cases), options.list)
    if options.golds:
        report("made pairs", made_cases(options.golds, options.data), options.list)


if __name__ == "__main__":
    main()
