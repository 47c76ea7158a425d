"""Writes the short questions of `params.smollm.yaml`: three kinds that SmolLM2-135M answers right one time in five.

    python examples/smollm/make_problems.py SEED COUNT > problems.jsonl

COUNT questions of each kind, none twice. The shipped file is seed 2025; what was tuned was tuned on seed 1.
"""

from __future__ import annotations

import json
import random
import sys


def questions(seed: int, count: int) -> list[tuple[str, int]]:
    """Questions with their answers, kinds in turn."""
    draw = random.Random(seed)
    pairs = draw.sample([(a, b) for a in range(10, 100) for b in range(10, a)], count)
    sums = draw.sample([(a, b) for a in range(10, 1000, 10) for b in range(1, 10)], count)
    tenfold = draw.sample(range(2, 1000), count)
    found = []
    for (large, small), (tens, ones), factor in zip(pairs, sums, tenfold, strict=True):
        first, second = (large, small) if draw.random() < 0.5 else (small, large)
        found += [
            (f"Which is larger, {first} or {second}?", large),
            (f"What is {tens} plus {ones}?", tens + ones),
            (f"What is {factor} times 10?", 10 * factor),
        ]
    return found


if __name__ == "__main__":
    for question, answer in questions(int(sys.argv[1]), int(sys.argv[2])):
        print(json.dumps({"problem": question, "answer": str(answer)}))
