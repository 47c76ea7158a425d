r"""Compares our verdicts with math-verify 0.9 on pairs made from every gold answer of the math sets.

    python benchmarks/grading_agreement.py [--golds N] [--presentation boxed] [--boxed-gold-only] [--list FILE]

The reference is `verify(parse(gold), parse(completion))` with its defaults (alarms included) in the main thread of a
process of its own, with the gold in a box as its README asks; the same with the gold in dollars and bare is counted
beside it. Every pair on which the verdicts differ is printed, with our reason.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from grading_pairs import Pair, gold_answers, pairs_of

from tasks.grading import GradeRequest, GradingPool, Verdict

WRAPPINGS = {"boxed gold": "\\boxed{{{}}}", "gold in dollars": "${}$", "bare gold": "{}"}
Reference = dict[str, bool]


def reference(pair: Pair, wrappings: dict[str, str]) -> Reference:
    """Returns math-verify's verdict for each way of wrapping the gold answer."""
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    answer = parse(pair.completion)
    return {name: verify(parse(form.format(pair.gold.strip())), answer) for name, form in wrappings.items()}


def build(count: int | None, presentation: str | None) -> list[Pair]:
    golds = list(dict.fromkeys(gold_answers()))
    golds = random.Random(0).sample(golds, count) if count else golds
    pairs = [pair for gold in golds for pair in pairs_of(gold, random.Random(gold))]
    return [pair for pair in pairs if presentation in (None, pair.presentation)]


def show(pair: Pair, ours: Verdict, theirs: Reference) -> str:
    answer = pair.completion if len(pair.completion) < 200 else pair.completion[-120:]
    return json.dumps(
        {
            "gold": pair.gold,
            "completion": answer,
            "spelling": pair.spelling,
            "presentation": pair.presentation,
            "ours": ours.status,
            "our_reason": ours.reason,
            **theirs,
        }
    )


def is_right(pair: Pair, verdict: Verdict) -> bool:
    """Whether our verdict is right by how the pair was made: a perturbed answer has another value."""
    return verdict.correct == (pair.spelling != "perturbed")


def print_groups(differing: list[tuple[Pair, Verdict]]) -> None:
    """One line for each gold and spelling that differs; those that differ where they stand bare alone are counted."""
    groups: dict[tuple[str, str], list[tuple[Pair, Verdict]]] = {}
    for pair, verdict in differing:
        groups.setdefault((pair.gold, pair.spelling), []).append((pair, verdict))
    bare = 0
    for (gold, spelling), members in groups.items():
        presentations = [pair.presentation for pair, _ in members]
        pair, verdict = members[0]
        if presentations == ["bare"] and is_right(pair, verdict) and verdict.correct:
            bare += 1
            continue
        side = "ours" if is_right(pair, verdict) else "theirs"
        print(f"  {side}: {pair.completion[:70]!r} for {gold[:50]!r} ({spelling}; {', '.join(presentations)}): "
              f"{verdict.status}, {verdict.reason}")  # fmt: skip
    print(f"  ours: {bare} right answers that math-verify does not find where they stand bare")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--golds", type=int, help="a sample of so many golds instead of all")
    arguments.add_argument("--presentation", help="only boxed, bare, dollars, sentence or solution")
    arguments.add_argument(
        "--boxed-gold-only", action="store_true", help="skip the two other ways of wrapping the gold"
    )
    arguments.add_argument("--list", type=Path, help="write every difference to any reference to this file")
    options = arguments.parse_args()
    pairs = build(options.golds, options.presentation)
    wrappings = dict(list(WRAPPINGS.items())[:1]) if options.boxed_gold_only else WRAPPINGS
    with GradingPool(workers=2, seconds=20.0) as pool:
        ours = pool.grade([GradeRequest("math", pair.completion, pair.gold) for pair in pairs])
        stats = pool.last_stats
    start = time.perf_counter()
    with ProcessPoolExecutor(2) as processes:
        theirs = list(processes.map(partial(reference, wrappings=wrappings), pairs, chunksize=20))
    reference_seconds = time.perf_counter() - start
    print(f"pairs {len(pairs)} from {len({pair.gold for pair in pairs})} golds, right {stats.right_lenient}")
    print(
        f"ours {stats.seconds:.1f} s (fast path {stats.fast_path / stats.graded:.3f}), theirs {reference_seconds:.1f} s"
    )
    print("by spelling, ours right:", dict(Counter(p.spelling for p, v in zip(pairs, ours, strict=True) if v.correct)))
    lines = []
    for name in wrappings:
        differing = [
            (pair, verdict, other)
            for pair, verdict, other in zip(pairs, ours, theirs, strict=True)
            if verdict.correct != other[name]
        ]
        sides = Counter((p.presentation, "ours" if is_right(p, v) else "theirs") for p, v, _ in differing)
        print(f"{name}: {len(differing)} of {len(pairs)} differ; right by how the pairs are made: {dict(sides)}")
        lines += [f"{name}: {show(pair, verdict, other)}" for pair, verdict, other in differing]
        if name == "boxed gold":
            print_groups([(pair, verdict) for pair, verdict, _ in differing])
    if options.list:
        options.list.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
