"""Which published training problems are also in the evaluation sets: the list, similar ones first.

    python benchmarks/prepare_overlap.py FOLDER [--all] [--json]

Reads the training subsets `math__sampled_*` and every other parquet file of the folder. By default only overlaps are
printed whose texts are at least half similar; `--all` adds rows that merely share a run of thirteen words.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.prepare.overlap.contamination import LIKELY, EvaluationEntry, EvaluationIndex, without_boilerplate
from tasks.prepare.sources.instructions import bare_problem
from tasks.prepare.sources.rows import Columns, Row, read_row
from tasks.study.params import Cleaning, FileSource, Prepare

SPEC = Prepare(
    seed=0,
    source=FileSource(kind="file", path="unused"),
    instruction="",
    suffix="",
    heldout=1,
    easy_threshold=0.3,
    cleaning=Cleaning(decontaminate_similarity=0.7),
)


def read(path: Path) -> list[Row]:
    return [read_row(raw, SPEC, Columns()) for raw in pq.read_table(path).to_pylist()]


def find(folder: Path) -> tuple[Counter[str], list[dict[str, Any]]]:
    """Looks every training row up; returns rows read per file, and the overlaps, the most similar first."""
    files = sorted(folder.glob("*.parquet"))
    sets = {path.stem: read(path) for path in files if not path.stem.startswith("math__sampled")}
    entries = [
        EvaluationEntry(name, str(n), row.normalized) for name, rows in sets.items() for n, row in enumerate(rows)
    ]
    index = EvaluationIndex(entries, SPEC.cleaning.overlap_similarity, SPEC.cleaning.decontaminate_ngram)
    counts: Counter[str] = Counter()
    found = []
    for path in files:
        if path.stem in sets:
            continue
        rows = read(path)
        counts[path.stem] = len(rows)
        overlaps = without_boilerplate(enumerate(index.find([row.normalized for row in rows])))
        for number, overlap in overlaps.items():
            other = sets[overlap.entry.set][int(overlap.entry.problem_id)]
            found.append(
                {
                    "file": path.stem,
                    "row": number,
                    "kind": overlap.kind,
                    "similarity": round(overlap.similarity, 2),
                    "set": overlap.entry.set,
                    "problem": int(overlap.entry.problem_id),
                    "training": bare_problem(rows[number].problem.messages[-1][1]),
                    "evaluation": bare_problem(other.problem.messages[-1][1]),
                }
            )
    return counts, sorted(found, key=lambda one: (-one["similarity"], one["file"], one["row"]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--all", action="store_true", help="Also rows that share a run of words only.")
    parser.add_argument("--json", action="store_true", help="Print JSON, whole texts included.")
    arguments = parser.parse_args()
    counts, found = find(arguments.folder)
    shown = [one for one in found if arguments.all or one["similarity"] >= LIKELY or one["kind"] != "ngram"]
    if arguments.json:
        print(json.dumps(shown, indent=1, ensure_ascii=False))
        return
    for one in shown:
        print(f"{one['file']}:{one['row']}  {one['kind']} {one['similarity']:.2f}  {one['set']}:{one['problem']}")
        print(f"    {one['training'][:110]!r}\n    {one['evaluation'][:110]!r}")
    for name, rows in counts.items():
        mine = [one for one in found if one["file"] == name]
        likely = sum(one["similarity"] >= LIKELY for one in mine)
        print(f"{name}: {rows} rows, {likely} at least half similar, {len(mine) - likely} share thirteen words only")


if __name__ == "__main__":
    main()
