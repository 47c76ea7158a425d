r"""Problem sets in the parquet layout of the published study, rows written for the tests: same columns, names, quirks.

The quirks: code prompts are the text of a list of messages, training answers may be escaped once too often, logic
answers are tables. `SURE` names the training rows that repeat an evaluation problem.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

INSTRUCTION = "You are a knowledgeable math assistant. Answer the following questions and think step by step."
SUFFIX = r"Please output the final answer within \boxed{}."

MATH: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "math__full_difficulty_ordered_test_500": (
        "math__deepscaler_preview",
        [
            (r"Solve $5x^2 - 2x - 1 = 0$ and give the larger root.", r"\frac{1+\sqrt{6}}{5}"),
            (r"For which real $t$ is $t^2 - 7t + 10$ negative?", "(2,5)"),
            ("A cistern holds 84 litres. One tap fills it in 12 minutes and a drain empties it in 28 minutes. Starting "
             "empty with both open, after how many minutes does it run over?", "21"),
            (r"Write $\sqrt{50} + \sqrt{8}$ as one root of 2.", r"7\sqrt{2}"),
            ("How many of the whole numbers from 1 to 330 are divisible by neither 3 nor 11?", "200"),
            (r"Evaluate $\cos 75^\circ \cos 15^\circ$.", r"\frac{1}{4}"),
        ],
    ),
    "math__math_500": (
        "math__math",
        [
            (r"Give the midpoint of the segment from $(3, -8)$ to $(10, 2)$.", r"\left( \frac{13}{2}, -3 \right)"),
            (r"Expand $(2y - 3)(y + 5)$.", "2y^2+7y-15"),
            ("Which percentage of 320 is 72?", r"22.5\%"),
            (r"What is the sum of the series $9 - 6 + 4 - \frac{8}{3} + \cdots$?", r"\frac{27}{5}"),
            (r"Solve $\log_3 (w - 4) = 4$.", "85"),
            ("A fair die is rolled twice. What is the probability that the second roll exceeds the first?",
             r"\frac{5}{12}"),
        ],
    ),
    "gsm8k": (
        "openai/gsm8k",
        [
            ("Mirela packs 14 crates of 36 pears and gives 29 pears away. How many pears are packed and left?", "475"),
            ("A ferry makes 7 trips a day with 55 seats, four fifths of them taken. How many people ride on 3 days?",
             "924"),
            ("Oskar saves 18 dollars a week and spends 4 dollars of it. How long, in weeks, until he has 196?", "14"),
            ("A tailor cuts 2,400 buttons into boxes of 16 and sells 130 boxes. How many boxes remain?", "20"),
        ],
    ),
    "aime2024": (
        "aime2024",
        [
            ("Let $r$ be the remainder of $7^{222}$ divided by 1000. Find $r$.", "49"),
            ("How many ordered pairs of positive integers have a product of 2310?", "32"),
            ("Two circles of radii 15 and 8 are tangent from outside. A common outer tangent touches them at $P$ "
             "and $Q$. Find $PQ^2$.", "480"),
        ],
    ),
    "amc2023": (
        "aimeamc2023",
        [
            ("Barges leave Elmport upstream at 9 kilometers per hour and Oakport downstream at 21 kilometers per hour, "
             "75 kilometers apart, towards each other at noon. How many kilometers from Elmport do they meet?", "22.5"),
            (r"What is $\frac{3^{10} - 3^8}{3^8}$?", "8"),
            ("The digits of a two-digit number add up to 12, and reversing them adds 18. What is the number?", "57"),
        ],
    ),
}  # fmt: skip

# Training rows: problem, answer as the file has it, pass rate of the small model.
TRAINING: list[tuple[str, str, float]] = [
    ("How many diagonals does a regular polygon with 17 sides have?", "119", 0.875),
    (r"Find the vertex of the parabola $y = x^2 - 9x + 4$.", r"\\left( \\frac{9}{2}, -\\frac{65}{4} \\right)", 0.75),
    ("A cistern holds 84 litres. One tap fills it in 12 minutes, and a drain empties it in 28 minutes. Starting empty "
     "with both of them open, after how many minutes does it run over?", "21", 0.6875),
    (r"Simplify $\frac{x^2-49}{x+7}$ for $x \neq -7$.", "x-7", 0.625),
    (r"The legs of a right triangle are $\sqrt{5}$ and $\sqrt{11}$. How long is its hypotenuse?", "4", 0.5625),
    (r"Which fraction of $\frac{7}{9}$ is $\frac{14}{45}$?", r"\\frac{2}{5}", 0.5),
    ("Barges leave Elmport upstream at 9 kilometers per hour and Oakport downstream at 21 kilometers per hour, 75 "
     "kilometers apart, towards each other at noon. How many kilometers from Elmport will they meet?", "22.5", 0.4375),
    (r"Give $\tan 105^\circ$ in exact form.", r"-2-\sqrt{3}", 0.375),
    (r"For which $p$ does $x^2 + px + 36$ have a double root with positive $x$?", "-12", 0.3125),
    (r"Solve $|3 - 2z| \le 7$.", "[-2,5]", 0.25),
    ("A fair die is rolled twice. What is the probability that the second roll exceeds the first one?",
     r"\frac{5}{12}", 0.1875),
    (r"Find the area of the triangle with sides 13, 14 and 15, over $\pi$.", r"\frac{84}{\pi}", 0.125),
]  # fmt: skip
REPAIRED = 2
"""Training answers that are escaped once too often."""
SURE = {
    (2, "math__full_difficulty_ordered_test_500", "2"),
    (6, "amc2023", "0"),
    (10, "math__math_500", "5"),
}
"""Training row, evaluation set and its row, for each training problem that is an evaluation problem."""

# Functions: what is asked for, and what the check asserts of `f`.
CODE: dict[str, tuple[str, list[str]]] = {
    "has_close_elements": ("whether two numbers differ by less than a threshold", ["f([4.0, 9.5, 4.2], 0.5) == True",
                           "f([1.0, 3.0], 0.5) == False"]),
    "truncate_number": ("the decimal part of a positive number", ["f(8.75) == 0.75", "abs(f(2.2) - 0.2) < 1e-6"]),
    "below_zero": ("whether a balance that starts at 0 ever falls below it", ["f([5, -6, 9]) == True",
                   "f([2, 2, -4]) == False"]),
    "greatest_common_divisor": ("the greatest common divisor", ["f(84, 36) == 12", "f(17, 5) == 1"]),
    "prime_length": ("whether a text has a prime number of letters", ["f('scale') == True", "f('rl') == True",
                     "f('laws') == False"]),
    "sort_third": ("the list with every third element sorted", ["f([9, 1, 1, 4, 0, 0]) == [4, 1, 1, 9, 0, 0]"]),
    "sort_even": ("the list with the elements at even places sorted", ["f([7, 0, 3, 0, 5]) == [3, 0, 5, 0, 7]"]),
    "below_threshold": ("whether all numbers lie below a threshold", ["f([3, 8, 2], 9) == True",
                        "f([3, 9], 9) == False"]),
    "correct_bracketing": ("whether all brackets are closed", ["f('(()())') == True", "f('())(') == False"]),
    "will_it_fly": ("whether a palindrome weighs no more than allowed", ["f([2, 5, 2], 9) == True",
                    "f([1, 2], 9) == False"]),
    "count_vowels_twice": ("twice the number of vowels", ["f('reward') == 4", "f('rhythm') == 0"]),
}  # fmt: skip

LOGIC: list[tuple[str, list[str], list[list[str]]]] = [
    ("Two houses. The baker lives left of the pilot; the pilot keeps the newt.", ["House", "Job", "Pet"],
     [["1", "baker", "heron"], ["2", "pilot", "newt"]]),
    ("Three boats. The red one is first, oars are in the last, the blue one has sails.", ["Boat", "Color", "Drive"],
     [["1", "red", "motor"], ["2", "blue", "sails"], ["3", "green", "oars"]]),
]  # fmt: skip
CHOICE: list[tuple[str, list[str], str]] = [
    ("Which unit is that of pressure?", ["newton", "pascal", "joule", "tesla"], "B"),
    ("Which of these is a noble gas?", ["argon", "cobalt", "iodine", "boron"], "A"),
    ("What does an ammeter measure?", ["voltage", "resistance", "current", "charge"], "C"),
]


def write_problem_sets(folder: Path) -> None:
    """Writes all ten files of the published layout."""
    for name, (source, problems) in MATH.items():
        rows = [_row(source, f"{INSTRUCTION} {text} {SUFFIX}", answer) for text, answer in problems]
        _write(folder / f"{name}.parquet", rows)
    for name in ("math__sampled_1_50_1024", "math__sampled_1_100_512"):
        _write(folder / f"{name}.parquet", _training_rows())
    _write(folder / "codegen__humaneval_164.parquet", [_code(name, *task) for name, task in CODE.items()])
    _write(folder / "logic__zebra_puzzle_dataset_200.parquet", [_logic(*puzzle) for puzzle in LOGIC])
    _write(folder / "stem__supergpqa_200.parquet", [_choice(*question) for question in CHOICE])


def _row(source: str, content: str, answer: Any, ability: str = "math", **extra: Any) -> dict[str, Any]:
    return {
        "data_source": source,
        "prompt": [{"content": content, "role": "user"}],
        "ability": ability,
        "reward_model": {"ground_truth": answer, "style": "rule"},
        "extra_info": {"split": "val"} | extra,
    }


def _training_rows() -> list[dict[str, Any]]:
    rows = []
    for place, (text, answer, rate) in enumerate(TRAINING):
        rates = {"qwen2.5_7b_pass_rate": rate, "qwen3_30b_pass_rate": rate, "split": "train"}
        row = _row("math__deepscaler_preview", f"{INSTRUCTION} {text} {SUFFIX}", answer, **rates)
        rows.append(row | {"__index_level_0__": place})
    return rows


def _code(name: str, task: str, checks: list[str]) -> dict[str, Any]:
    lines = ["", "def check(candidate):", "    f = candidate", *(f"    assert {check}" for check in checks)]
    tests = "\n".join([*lines, "", f"check({name})"])
    text = f"Write a complete Python function `{name}` that returns {task}."
    content = str([{"content": text, "role": "user"}])
    return _row("codegen__humaneval", content, json.dumps({"functional": tests}), "codegen", prefix="")


def _logic(text: str, header: list[str], rows: list[list[str]]) -> dict[str, Any]:
    content = f"Solve the following puzzle. {text} Give the table in <answer> tags, as JSON with header and rows."
    return _row("logic__zebra_puzzle_dataset", content, {"header": header, "rows": rows}, "logic")


def _choice(text: str, options: list[str], answer: str) -> dict[str, Any]:
    listed = "\n".join(f"({letter}): {option}" for letter, option in zip("ABCDEFGHIJ", options, strict=False))
    question = f"{text}\nOptions are:\n{listed}\n\nOnly put the letter in the box, e.g. \\boxed{{A}}."
    content = f"{INSTRUCTION.replace(' math', '')} {SUFFIX} {question}"
    return _row("stem__supergpqa", content, answer, "stem", question=question)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    for index, row in enumerate(rows):
        row["extra_info"] = {"index": index} | row["extra_info"]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
