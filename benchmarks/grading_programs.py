"""Right programs for the 164 HumanEval problems, whose data file carries tests but no solutions.

Ten problems, whose tests draw at random, call helpers of the prompt or use results as a recorder cannot follow, and a
few others have solutions written here. For the rest a look-up table is recorded from the tests: the check function is
run once with a stand-in that notes which arguments it gets and what its result is compared with. The tables prove that
a row can be scored, which is all they are for.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
from typing import Any

SOLUTIONS = {
    "has_close_elements": """
def has_close_elements(numbers, threshold):
    ordered = sorted(numbers)
    return any(b - a < threshold for a, b in zip(ordered, ordered[1:]))
""",
    "truncate_number": """
def truncate_number(number):
    return number % 1.0
""",
    "below_zero": """
def below_zero(operations):
    balance = 0
    for step in operations:
        balance += step
        if balance < 0:
            return True
    return False
""",
    "greatest_common_divisor": """
import math

def greatest_common_divisor(a, b):
    return math.gcd(a, b)
""",
    "prime_length": """
def prime_length(string):
    n = len(string)
    return n > 1 and all(n % d for d in range(2, int(n ** 0.5) + 1))
""",
    "find_zero": """
def poly(xs, x):
    return sum(coefficient * x ** power for power, coefficient in enumerate(xs))

def find_zero(xs):
    low, high = -1.0, 1.0
    while poly(xs, low) * poly(xs, high) > 0:
        low, high = low * 2, high * 2
    for _ in range(200):
        middle = (low + high) / 2
        if poly(xs, low) * poly(xs, middle) > 0:
            low = middle
        else:
            high = middle
    return low
""",
    "sort_third": """
def sort_third(l):
    result = list(l)
    result[::3] = sorted(l[::3])
    return result
""",
    "sort_even": """
def sort_even(l):
    result = list(l)
    result[::2] = sorted(l[::2])
    return result
""",
    "decode_cyclic": """
def encode_cyclic(s):
    groups = [s[i:i + 3] for i in range(0, len(s), 3)]
    return "".join(g[1:] + g[0] if len(g) == 3 else g for g in groups)

def decode_cyclic(s):
    groups = [s[i:i + 3] for i in range(0, len(s), 3)]
    return "".join(g[2] + g[:2] if len(g) == 3 else g for g in groups)
""",
    "decode_shift": """
def encode_shift(s):
    return "".join(chr((ord(c) - 97 + 5) % 26 + 97) for c in s)

def decode_shift(s):
    return "".join(chr((ord(c) - 97 - 5) % 26 + 97) for c in s)
""",
    "below_threshold": """
def below_threshold(l, t):
    return max(l, default=t - 1) < t
""",
    "correct_bracketing": """
def correct_bracketing(brackets):
    depth = 0
    for letter in brackets:
        depth += 1 if letter in "(<" else -1
        if depth < 0:
            return False
    return depth == 0
""",
    # Two problems are called so: the sum of two numbers, and the sum of the even numbers at odd places of a list.
    "add": """
def add(x, y=None):
    if y is None:
        return sum(value for value in x[1::2] if value % 2 == 0)
    return x + y
""",
    "will_it_fly": """
def will_it_fly(q, w):
    return q == q[::-1] and sum(q) <= w
""",
}

_TABLE = """
import copy

TABLE = {table!r}

def {name}(*args, **kwargs):
    return copy.deepcopy(TABLE[repr((args, kwargs))])
"""


class _StandIn:
    """A result that notes what it is compared with, or subtracted from, and then agrees."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, key: str, table: dict[str, Any]) -> None:
        self.key, self.table = key, table

    def __eq__(self, other: object) -> bool:
        self.table[self.key] = other
        return True

    def __sub__(self, other: float) -> float:
        self.table[self.key] = other
        return 0.0


def entry_point(ground_truth: str) -> str:
    """Returns the name of the function that the tests check."""
    found = re.findall(r"check\((\w+)\)\s*$", json.loads(ground_truth)["functional"].strip())
    return str(found[0])


def right_program(ground_truth: str) -> str:
    """Returns a program that passes the tests of one row."""
    name = entry_point(ground_truth)
    if name in SOLUTIONS:
        return SOLUTIONS[name]
    tests = json.loads(ground_truth)["functional"].strip()
    table: dict[str, Any] = {}
    scope: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(tests[: tests.rindex("check(")], scope)
        scope["check"](lambda *args, **kwargs: _StandIn(repr((args, kwargs)), table))
    return _TABLE.format(table=table, name=name)
