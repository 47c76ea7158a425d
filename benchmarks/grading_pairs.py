"""Pairs of gold and completion made from real gold answers, for the grading benchmarks and tests.

Each gold answer is given back as itself, in an equivalent spelling and with a wrong value; each of these boxed, bare,
in dollars, as a sentence and at the end of a 2,000-character solution. Nothing here is random but what a seed decides.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data" / "guru_math"
MATH_SETS = (
    "math__full_difficulty_ordered_test_500",
    "math__math_500",
    "gsm8k",
    "math__sampled_1_100_512",
    "math__sampled_1_50_1024",
)
_FILLER = (
    "We first restate what is given and name the unknown quantity. ",
    "Adding both equations and dividing by 2 gives $x + 3 = 11$, so that $x = 8$ in this case. ",
    "Then \\[ y^2 - 4y + 4 = (y-2)^2 \\ge 0, \\] with equality only for $y = 2$. ",
    "There are 12 cases to check, of which 5 fall away by symmetry. ",
    "Hence the ratio is \\( \\frac{3}{7} \\) before the second step. ",
)


@dataclass(frozen=True)
class Pair:
    """A completion to grade: which gold, what was done to it and how it is presented."""

    gold: str
    completion: str
    spelling: str
    presentation: str


def gold_answers(names: Sequence[str] = MATH_SETS, folder: Path = DATA) -> list[str]:
    """Returns the gold answers of the named sets in a folder, row by row."""
    import pyarrow.parquet

    golds: list[str] = []
    for name in names:
        table = pyarrow.parquet.read_table(folder / f"{name}.parquet", columns=["reward_model"])
        golds += [row["ground_truth"] for row in table.column("reward_model").to_pylist()]
    return golds


def equivalent(gold: str, rng: random.Random) -> str:
    """Returns another spelling of the same value; the LaTeX of anything but a number only changes its looks."""
    text = gold.strip()
    if re.fullmatch(r"-?\d+", text, re.ASCII):
        value = int(text)
        spellings = [f"{value}.0", f"\\frac{{{2 * value}}}{{2}}", f"{value * 3}/3", f"x = {value}", f"{value - 1} + 1"]
        return rng.choice([*spellings, f"{value:,}", f"{value} \\text{{ units}}", f"\\left({value}\\right)"])
    match = re.fullmatch(r"(-?)\\frac\{(\d+)\}\{(\d+)\}", text, re.ASCII)
    if match and int(match.group(3)):
        sign, top, bottom = match.group(1), int(match.group(2)), int(match.group(3))
        value = Fraction(top, bottom)
        spellings = [
            f"{sign}\\dfrac{{{3 * top}}}{{{3 * bottom}}}",
            f"{sign}{top}/{bottom}",
            f"\\frac{{{sign}{top}}}{{{bottom}}}",
        ]
        exact = 10**6 * value
        return rng.choice([*spellings, f"{sign}{float(value):.6g}"] if exact.denominator == 1 else spellings)
    looks = [f"\\displaystyle {text}", text.replace("\\frac", "\\dfrac"), f" {text} ", f"{{{text}}}", f"{text} + 0"]
    return rng.choice([*looks, re.sub(r"(?<=[,+=])", " ", text), text.replace(" ", "")])


def perturbed(gold: str, rng: random.Random) -> str:
    """Returns the gold answer with one digit changed, or with `+ 1` where it has none."""
    places = [place for place, letter in enumerate(gold) if letter in "0123456789"]
    if not places:
        return f"{gold} + 1"
    place = rng.choice(places)
    digit = (int(gold[place]) + rng.randint(1, 8)) % 9 + 1
    if str(digit) == gold[place]:
        digit = digit % 9 + 1
    return gold[:place] + str(digit) + gold[place + 1 :]


def solution(answer: str, rng: random.Random, length: int = 2000) -> str:
    """Returns a solution text of about `length` characters that ends with the boxed answer."""
    parts: list[str] = []
    while sum(map(len, parts)) < length:
        parts.append(rng.choice(_FILLER))
    return "".join(parts) + f"\n\nTherefore the result is $\\boxed{{{answer}}}$."


def pairs_of(gold: str, rng: random.Random) -> Iterator[Pair]:
    """Yields the pairs of one gold answer: three spellings in five presentations."""
    for spelling, text in (
        ("itself", gold),
        ("equivalent", equivalent(gold, rng)),
        ("perturbed", perturbed(gold, rng)),
    ):
        yield Pair(gold, f"\\boxed{{{text}}}", spelling, "boxed")
        yield Pair(gold, text, spelling, "bare")
        yield Pair(gold, f"${text}$", spelling, "dollars")
        yield Pair(gold, f"The answer is $\\boxed{{{text}}}$.", spelling, "sentence")
        yield Pair(gold, solution(text, rng), spelling, "solution")
