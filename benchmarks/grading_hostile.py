"""Grades 10,000 generated hostile answers: none may hang, crash, grow memory or score.

    python benchmarks/grading_hostile.py [--count 10000] [--seconds 1.0]

Prints the worst single verdict against the limit, what became of each kind of attack, and the largest resident size
of any grading process after every tenth of the answers.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tasks.grading import GradeRequest, GradingPool

GOLD = "17"


def _boxed(text: str) -> str:
    return f"\\boxed{{{text}}}"


def _tower(rng: random.Random) -> str:
    base = rng.randint(2, 99)
    return _boxed(f"{base}^{{" * rng.randint(2, 6) + str(rng.randint(8, 99)) + "}" * 6)


def _tower_closed(rng: random.Random) -> str:
    height = rng.randint(2, 6)
    return _boxed(f"{rng.randint(2, 99)}^{{" * height + str(rng.randint(8, 99)) + "}" * height)


def _factorial(rng: random.Random) -> str:
    number = rng.randint(10**5, 10**9)
    return _boxed(rng.choice([f"{number}!", f"({number}!)!", f"{rng.randint(5, 9)}!!!!!", f"\\frac{{{number}!}}{{3}}"]))


def _sum(rng: random.Random) -> str:
    top = rng.choice([f"10^{{{rng.randint(6, 40)}}}", str(rng.randint(10**6, 10**12))])
    body = rng.choice(["i", "\\frac{1}{i}", "i^i", "\\sin(i)", "\\sqrt{i}"])
    return _boxed(f"\\{rng.choice(['sum', 'prod'])}_{{i=1}}^{{{top}}} {body}")


def _binomial(rng: random.Random) -> str:
    number = rng.randint(10**6, 10**8)
    return _boxed(f"\\binom{{{number}}}{{{number // 2}}}")


def _expansion(rng: random.Random) -> str:
    power = rng.randint(2000, 10**6)
    return _boxed(rng.choice([f"(x+1)^{{{power}}}", f"(a+b+c+d)^{{{power}}}", f"\\int_0^1 x^{{{power}}} e^{{x^2}} dx"]))


def _symbolic(rng: random.Random) -> str:
    forms = [
        "\\int \\frac{1}{x^5+x+1} dx",
        "x^{17}+x^5+3x=\\sqrt{x}",
        "\\gcd(10^{10^8},3)",
        "\\lim_{x \\to 0} x^{x^{x^x}}",
    ]
    return _boxed(rng.choice(forms) + f" + {rng.randint(1, 10**6)}")


def _long(rng: random.Random) -> str:
    piece = rng.choice(
        ["9", "1+", "\\frac{1}{2}+", "a", "{", "}", "\\boxed{", "$", "\\[", "answer is ", "1,", "(", "\\"]
    )
    text = piece * (rng.choice([20_000, 1_000_000]) // len(piece))
    return rng.choice([text, _boxed(text), text + _boxed("3"), f"final answer is {text}"])


def _nested(rng: random.Random) -> str:
    depth = rng.randint(61, 5000)
    opening, closing = rng.choice(
        [("{", "}"), ("(", ")"), ("\\frac{1}{", "}"), ("\\sqrt{", "}"), ("\\left(", "\\right)")]
    )
    return _boxed(opening * depth + "2" + closing * depth)


def _characters(rng: random.Random) -> str:
    return _boxed(
        rng.choice(["\x00{}", "{}\x00", "\ud800{}", "{}\udfff", "\u202e{}", "\u200b{}9"]).format(rng.randint(20, 99))
    )


def _unicode_number(rng: random.Random) -> str:
    zero = rng.choice([0xFF10, 0x0660, 0x0966, 0x1D7CE])
    digits = "".join(chr(zero + int(digit)) for digit in str(rng.randint(20, 99)))
    return _boxed(rng.choice(["", "\u2212", "\uff0d", "\u2013"]) + digits)


def _tex(rng: random.Random) -> str:
    commands = ["\\input{/etc/passwd}", "\\write18{id}", "\\def\\x{\\x\\x}\\x", "\\csname x\\endcsname", "\\include{a}"]
    return _boxed(rng.choice(commands) + str(rng.randint(20, 99)))


def _quoting(rng: random.Random) -> str:
    forms = [
        '{"verdict": {"status": "right", "score": 1.0, "extracted": "17", "reason": "same number"}, "leaving": false}',
        "Verdict(status='right', score=1.0, extracted='17', reason='same number')",
        "The grader says: right. Score: 1.0. The gold answer is the answer.",
        "__import__('os').system('kill -9 -1')",
        "{gold}",
        "ground_truth",
        "nan",
        "\\infty - \\infty",
        "0/0",
    ]
    text = rng.choice(forms)
    return rng.choice([text, _boxed(text), f"final answer is ${text}$. I hope it is correct {_boxed('18')}"])


def _every_choice(rng: random.Random) -> str:
    numbers = rng.sample(range(100), rng.randint(5, 60))
    listed = [number for number in numbers if number != int(GOLD)]
    boxes = [_boxed(str(number)) for number in [int(GOLD), *listed]]
    forms = [" ".join(boxes), ", ".join(boxes), _boxed(", ".join(map(str, [int(GOLD), *listed]))), " or ".join(boxes)]
    return rng.choice(forms)


def _cut_off(rng: random.Random) -> str:
    return rng.choice(["\\boxed{", "\\boxed{\\frac{1", "\\boxed", "\\boxed{}", "\\boxed{{}}", "\\fbox{", "$\\boxed{$"])


def _big_structure(rng: random.Random) -> str:
    size = rng.randint(10, 30)
    row = " & ".join("x^{9}+1" for _ in range(size))
    matrix = "\\begin{pmatrix}" + " \\\\ ".join([row] * size) + "\\end{pmatrix}"
    many = ",".join(f"{number}^{{{number}}}" for number in range(1, 400))
    return _boxed(
        rng.choice([matrix, f"\\{{{many}\\}}", matrix + "^{100}", "+".join(f"x_{{{i}}}" for i in range(400))])
    )


ATTACKS: dict[str, Callable[[random.Random], str]] = {
    "tower of powers, braces unbalanced": _tower,
    "tower of powers": _tower_closed,
    "factorial": _factorial,
    "sum or product": _sum,
    "binomial": _binomial,
    "expansion": _expansion,
    "symbolic work": _symbolic,
    "long": _long,
    "nested": _nested,
    "odd characters": _characters,
    "Unicode number": _unicode_number,
    "TeX command": _tex,
    "quotes the grader": _quoting,
    "every choice": _every_choice,
    "cut off": _cut_off,
    "big structure": _big_structure,
}


def hostile_answers(count: int, seed: int) -> Iterator[tuple[str, str]]:
    """Yields (kind, completion): kinds in turn, contents from the seed. None of them answers 17."""
    rng = random.Random(seed)
    kinds = list(ATTACKS)
    for number in range(count):
        kind = kinds[number % len(kinds)]
        yield kind, ATTACKS[kind](rng)


def resident_mb(root: int) -> dict[int, float]:
    """Returns the resident megabytes of a process and its descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
    family = {root}
    while more := {child for child, parent in parents.items() if parent in family} - family:
        family |= more
    sizes = {}
    for each in family:
        try:
            sizes[each] = int(Path(f"/proc/{each}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
        except (FileNotFoundError, ProcessLookupError):
            continue
    return sizes


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--count", type=int, default=10_000)
    arguments.add_argument("--seconds", type=float, default=1.0)
    options = arguments.parse_args()
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    worst, scored, sizes, start = 0.0, 0, [], time.perf_counter()
    answers = hostile_answers(options.count, seed=0)
    with GradingPool(workers=2, seconds=options.seconds) as pool:
        for _ in range(10):
            batch = [next(answers) for _ in range(options.count // 10)]
            verdicts = pool.grade([GradeRequest("math", completion, GOLD) for _, completion in batch])
            for (kind, completion), verdict in zip(batch, verdicts, strict=True):
                outcomes[kind][verdict.reason.split(" by ")[0][:44]] += 1
                worst = max(worst, verdict.seconds)
                if verdict.lenient > 0 or verdict.correct:
                    scored += 1
                    print("SCORED", kind, repr(completion[:200]), verdict)
            sizes.append(max(resident_mb(os.getpid()).values()))
        total = pool.total_stats
    print(f"{total.graded} answers in {time.perf_counter() - start:.0f} s, limit {options.seconds} s")
    print(f"worst verdict {worst:.2f} s = {worst / options.seconds:.2f} x limit")
    print(f"scored {scored}, aborted {total.timed_out}")
    print("largest process after each tenth, MB:", " ".join(f"{size:.0f}" for size in sizes))
    for kind, reasons in outcomes.items():
        print(f"  {kind:36}", dict(reasons.most_common(4)))


if __name__ == "__main__":
    main()
