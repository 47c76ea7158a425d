"""Programs against tests they cannot reach: attacks score nothing, honest ones pass in whatever dress they come."""

from __future__ import annotations

import json
import sys
from collections import Counter, OrderedDict, deque, namedtuple
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from tasks.grading import GradeRequest, GradingPool, Verdict
from tasks.grading.sandbox.plain_values import Opaque, decode, encode
from tasks.grading.scorers.code import extract_program, read_tests
from tasks.grading.scorers.code_blocks import CodeBlock, code_blocks

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from grading_program_cases import ATTACKS, GOLD, HONEST, attack

sys.path.pop(0)


@pytest.fixture(scope="module")
def pool() -> Iterator[GradingPool]:
    with GradingPool(workers=2, seconds=5.0) as opened:
        yield opened


def grade(pool: GradingPool, completions: list[str], tests: str | None = None) -> list[Verdict]:
    gold = GOLD if tests is None else json.dumps({"functional": tests})
    return pool.grade([GradeRequest("codegen__humaneval", completion, gold) for completion in completions])


@pytest.mark.slow
def test_no_attack_scores(pool: GradingPool) -> None:
    verdicts = grade(pool, [attack(name, "total") for name in ATTACKS])
    assert [name for name, verdict in zip(ATTACKS, verdicts, strict=True) if verdict.status != "wrong"] == []
    assert [verdict.lenient for verdict in verdicts] == [0.0] * len(ATTACKS)


@pytest.mark.slow
def test_every_honest_program_passes(pool: GradingPool) -> None:
    verdicts = grade(pool, list(HONEST.values()))
    refused = [(name, verdict.reason) for name, verdict in zip(HONEST, verdicts, strict=True) if not verdict.correct]
    assert refused == []
    assert len(HONEST) >= 20


@pytest.mark.slow
def test_an_honest_program_with_another_result_fails(pool: GradingPool) -> None:
    wrong = [text.replace("sum(", "1 + sum(") for text in HONEST.values() if "sum(" in text]
    assert {verdict.status for verdict in grade(pool, wrong)} == {"wrong"}
    assert len(wrong) >= 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "tests", "right"),
    [
        (
            "def f(x):\n    raise ValueError(x)",
            "try:\n    f(1)\nexcept ValueError as e:\n    assert str(e) == '1'",
            True,
        ),
        ("def f(x):\n    raise KeyError(x)", "try:\n    f(1)\nexcept ValueError as e:\n    pass", False),
        ("class E(ValueError): pass\ndef f(x):\n    raise E", "try:\n    f(1)\nexcept ValueError:\n    pass", True),
        ("def f(x):\n    raise SystemExit", "try:\n    f(1)\nexcept BaseException:\n    pass", False),
        ("def g(x):\n    return 1", "try:\n    f(1)\nexcept BaseException:\n    pass", False),
        ("def f(x):\n    yield x", "assert list(f(1)) == [1]", True),
        ("def f(x):\n    yield x", "assert f(1) == [1]", False),
        ("def f(x):\n    return iter(())", "assert all(f(x) is True for x in (1, 2))", False),
        ("def f(x):\n    raise StopIteration", "assert all(map(f, (1, 2)))", False),
        ("def f(*, x):\n    return x", "assert f(x={'a': (1, {2})}) == {'a': (1, {2})}", True),
        ("f = lambda x: 2 ** 5000 + x", "assert f(1) == 2 ** 5000 + 1", True),
        ("def f(x):\n    return x", "def check(g):\n    f = g(1)\n    assert f == 1\ncheck(f)", True),
        ("def f(x: Unknown):\n    return x", "assert f(1) == 1", False),
    ],
)
def test_a_call_crosses_as_it_would_in_one_process(pool: GradingPool, program: str, tests: str, right: bool) -> None:
    assert grade(pool, [f"```python\n{program}\n```"], tests)[0].correct == right


@pytest.mark.slow
def test_tests_that_pass_what_cannot_cross_cannot_judge(pool: GradingPool) -> None:
    verdict = grade(pool, ["def f(g):\n    return g(1)"], "assert f(lambda x: x) == 1")[0]
    assert (verdict.status, verdict.lenient) == ("unjudged", 0.0)


@pytest.mark.slow
def test_a_program_cannot_keep_its_tests_from_judging(pool: GradingPool) -> None:
    verdict = grade(pool, ["def g(x):\n    return object()\ndef f(x):\n    return x"], "assert f(g(1)) == 1")[0]
    assert (verdict.status, verdict.lenient) == ("wrong", 0.0)
    forged = (
        'import os\nfor fd in range(3, 9):\n    try:\n        os.write(fd, b\'["unjudged", "x"]\\n\')\n'
        "    except OSError:\n        pass"
    )
    assert grade(pool, [f"```python\n{forged}\n```"])[0].status == "wrong"


@pytest.mark.parametrize("tests", ["def check(:", "'" * 3, "(" * 9999])
def test_tests_that_are_not_python_are_none(tests: str) -> None:
    assert read_tests(json.dumps({"functional": tests})) is None


@pytest.mark.parametrize(
    ("tests", "names"),
    [
        ("def check(c):\n    assert c(1) == 1\ncheck(total)", ("total",)),
        ("def check(c):\n    total = c(helper(1))\n    assert total\ncheck(total)", ("helper", "total")),
        ("import math\nX = 1\nassert math.fabs(f(X)) == len([i for i in range(3)])", ("f",)),
        ("try:\n    f(1)\nexcept ValueError as e:\n    assert e", ("f",)),
        ("pass", ()),
    ],
)
def test_tests_take_from_the_program_what_they_do_not_define(tests: str, names: tuple[str, ...]) -> None:
    read = read_tests(json.dumps({"functional": tests}))
    assert read is not None
    assert read.names == names


Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        *(
            (value, value)
            for value in (None, True, 0, -(10**400), 1.5, float("inf"), 2j, "\ud800\n", b"\xff", range(3))
        ),
        *((value, value) for value in ([1, [2.0]], (1,), {1, 2}, frozenset({"a"}), {(1, 2): None}, deque([1]))),
        (Point(1, 2), (1, 2)),
        (Counter("aab"), {"a": 2, "b": 1}),
        (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (Fraction(1, 3), Fraction(1, 3)),
    ],
)
def test_a_value_crosses_by_content(value: Any, plain: Any) -> None:
    crossed = decode(json.loads(json.dumps(encode(value))))
    assert crossed == plain
    assert type(crossed) is type(plain)


def test_an_object_of_a_class_of_its_own_equals_nothing() -> None:
    class Yes:
        def __eq__(self, other: object) -> bool:
            return True

    crossed = decode(json.loads(json.dumps(encode([Yes()]))))
    assert isinstance(crossed[0], Opaque)
    assert crossed != [1]
    assert crossed != decode(encode([Yes()]))


@pytest.mark.parametrize(
    "form", [[], ["list"], ["list", 1], ["nothing", []], [[], []], ["int", 5], ["set", [["list", []]]]]
)
def test_a_form_that_is_none_is_refused(form: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        decode(form)


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("```python\na\n```\n~~~\nb\n~~~", [("python", "a\n"), ("", "b\n")]),
        ("````py\n```\na\n```\n````", [("py", "```\na\n```\n")]),
        ("~~~\n```\na\n~~~", [("", "```\na\n")]),
        ("So: ```Python\na\n```</think> then", [("python", "a\n")]),
        ("  ```{.python}\n  a\n    b\n  ```", [("python", "a\n  b\n")]),
        ("```python\nreturn x```\nno", [("python", "return x\n")]),
        ("```python\n# see ```docs```\na\n```", [("python", "# see ```docs```\na\n")]),
        ("```c++\r\na\r\n```\r\n", [("c++", "a\n")]),
        ("```python\na", [("python", "a")]),
        ("`a` and ```b``` and ~~no~~ ~~~", []),
    ],
)
def test_code_blocks_are_those_of_common_mark(text: str, blocks: list[tuple[str, str]]) -> None:
    assert code_blocks(text) == [CodeBlock(*block) for block in blocks]


def test_the_program_is_the_last_block_that_defines_what_the_tests_use() -> None:
    first, second = "def f(x):\n    return 1\n", "def f(x):\n    return 2\n"
    example = "print(f(1) == 2)\n"
    completion = "".join(f"```python\n{block}```\n" for block in (first, second, example))
    assert extract_program(completion, ("f",)) == second
    assert extract_program(completion, ("g",)) == example
    assert extract_program(f"{completion}<think>more", ("f",)) is None
    assert extract_program(f"<think>\n```python\n{second}```\n</think>\n```python\n{first}```", ("f",)) == first
