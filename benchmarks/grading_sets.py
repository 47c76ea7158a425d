r"""Grades every row of the eight evaluation sets twice: a perfect answer has to score 1, a wrong one 0.

    python benchmarks/grading_sets.py

Prints one line per set and every row whose gold cannot score, or that a wrong answer scores. Then what the sandbox
makes of programs that misbehave.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from grading_pairs import DATA
from grading_programs import entry_point, right_program

from tasks.grading import GradeRequest, GradingPool, ground_truth_text, scorer_for

SETS = (
    "math__full_difficulty_ordered_test_500",
    "math__math_500",
    "gsm8k",
    "aime2024",
    "amc2023",
    "codegen__humaneval_164",
    "logic__zebra_puzzle_dataset_200",
    "stem__supergpqa_200",
)
MISBEHAVING = {
    "infinite loop": "while True:\n    pass",
    "fork bomb": "import os\nwhile True:\n    os.fork()",
    "stubborn fork bomb": "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
    "memory bomb": "x = []\nwhile True:\n    x.append('a' * 10**7)",
    "file writer": "open('/tmp/rlscale-was-here', 'w').write('x')",
    "disk filler": "f = open('here', 'wb')\nwhile True:\n    f.write(b'x' * 10**6)",
    "network caller": "import socket\nsocket.create_connection(('127.0.0.1', 80), timeout=2)",
    "os._exit(0)": "import os\nos._exit(0)",
    "sys.exit(0)": "import sys\nsys.exit(0)",
    "kills everybody": "import os\nos.kill(-1, 9)",
    "runs a shell": "import subprocess\nsubprocess.run(['sh', '-c', 'true'])",
    "reads a secret": "open('/etc/passwd').read()",
}


def perfect(scorer: str, gold: str) -> str:
    """Returns a completion that answers with the gold answer."""
    if scorer == "grid":
        return f"Thinking it through, the grid is <answer> {gold} </answer>."
    if scorer == "code":
        return f"Here it is:\n\n```python\n{right_program(gold)}\n```\n"
    return f"Step by step, we arrive at $\\boxed{{{gold}}}$."


def wrong(scorer: str, gold: str) -> str:
    """Returns a completion that answers something else in the right form."""
    if scorer == "grid":
        grid = json.loads(gold)
        rows = [[row[0], *("nothing" for _ in row[1:])] for row in grid["rows"]]
        return f"<answer> {json.dumps({'header': grid['header'], 'rows': rows})} </answer>"
    if scorer == "code":
        return f"```python\ndef {entry_point(gold)}(*args, **kwargs):\n    return object()\n```"
    if scorer == "choice":
        return f"\\boxed{{{'A' if gold.strip() != 'A' else 'B'}}}"
    return "We get $\\boxed{-987654.25}$."


def read_rows(name: str, folder: Path = DATA) -> list[tuple[str, str]]:
    """Returns (data source, gold answer as text) of every row of a set in a folder."""
    import pyarrow.parquet

    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(folder / f"{name}.parquet").to_pylist()
    return [(row["data_source"], ground_truth_text(row["reward_model"]["ground_truth"])) for row in rows]


def grade_set(
    pool: GradingPool, name: str, answer: Callable[[str, str], str], score: float, folder: Path = DATA
) -> list[str]:
    """Grades one answer per row; returns a line for each row that scores something else than `score`."""
    rows = read_rows(name, folder)
    answers = [GradeRequest(source, answer(scorer_for(source).name, gold), gold) for source, gold in rows]
    verdicts = pool.grade(answers)
    return [
        f"row {place}, gold {each.ground_truth[:60]!r}: {verdict.status} {verdict.strict:.2f}, {verdict.reason}"
        for place, (each, verdict) in enumerate(zip(answers, verdicts, strict=True))
        if (verdict.strict, verdict.lenient) != (score, score)
    ]


def main() -> None:
    with GradingPool(workers=2, seconds=10.0) as pool:
        print(f"{'set':40} {'rows':>5} {'perfect=1':>9} {'s':>6} {'wrong=0':>8} {'s':>6} {'unjudged':>8}")
        for name in SETS:
            missed = grade_set(pool, name, perfect, 1.0)
            first = pool.last_stats
            scored = grade_set(pool, name, wrong, 0.0)
            counts = f"{first.graded - len(missed):9} {first.seconds:6.1f} {first.graded - len(scored):8}"
            print(f"{name:40} {first.graded:5} {counts} {pool.last_stats.seconds:6.1f} {pool.last_stats.unjudged:8}")
            for line in (*missed, *scored):
                print("   ", line)
    gold = next(gold for _, gold in read_rows("codegen__humaneval_164"))
    with GradingPool(workers=1, seconds=2.0) as pool:
        print("\nmisbehaving programs, limit 2 s")
        for name, program in MISBEHAVING.items():
            completion = f"```python\n{program}\n{right_program(gold)}```"
            verdict = pool.grade([GradeRequest("codegen__humaneval", completion, gold)])[0]
            print(f"  {name:20} {verdict.status:6} {verdict.seconds:5.2f} s  {verdict.reason}")


if __name__ == "__main__":
    main()
