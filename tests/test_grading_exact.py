"""The exact path: what it decides, it decides as math-verify does."""

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.grading.scorers.exact_match import read_integer, read_numeral, same_number, same_plain_number, same_text

logging.getLogger("math_verify").setLevel(logging.CRITICAL)


def by_math_verify(gold: str, answer: str) -> bool:
    from math_verify import parse, verify

    return verify(parse(f"\\boxed{{{gold}}}"), parse(f"\\boxed{{{answer}}}"))


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("46", "46", True),
        ("46", "046", True),
        ("073", "73", True),
        ("46", "+46", True),
        ("-46", "46", False),
        ("1000", "1,000", True),
        ("1000", "1{,}000", True),
        ("1/2", "\\frac{2}{4}", True),
        ("1/2", "0.5", True),
        ("\\frac{1}{3}", "0.333333", None),
        ("\\frac{1}{3}", "0.3", False),
        ("2.5", "2.50", True),
        ("7", "14/2", True),
        ("1/0", "1/0", None),
        ("x", "46", None),
        ("46", "12+34", None),
        ("5", "５", None),
        ("5", "−5", None),
        ("0.1234567", "0.1234567", None),
        ("1.5", "1." + "5" * 40, None),
        ("9" * 200, "9" * 200, True),
        ("9" * 200, "9" * 199 + "8", False),
        ("5", "9" * 5000, None),
    ],
)
def test_plain_numbers_are_decided_and_everything_else_is_left(gold: str, answer: str, expected: bool | None) -> None:
    assert same_number(gold, answer) is expected


integers = st.one_of(
    st.integers(-(10**12), 10**12).map(str),
    st.integers(-(10**7), 10**7).map("{:,}".format),
    st.integers(0, 500).map("{:05d}".format),
)
decimals = st.tuples(st.integers(-2000, 2000), st.integers(0, 7)).map(
    lambda pair: f"{pair[0] / 10 ** pair[1]:.{pair[1]}f}"
)
parts = st.tuples(st.integers(-60, 60), st.integers(1, 60))
fractions = st.one_of(
    parts.map(lambda part: f"{part[0]}/{part[1]}"),
    parts.map(lambda part: f"\\frac{{{part[0]}}}{{{part[1]}}}"),
    parts.map(lambda part: f"\\\\frac{{{part[0]}}}{{{part[1]}}}"),
    parts.map(lambda part: f"-\\\\dfrac{{{abs(part[0])}}}{{{part[1]}}}"),
    parts.map(lambda part: f"-\\dfrac{{{abs(part[0])}}}{{{part[1]}}}"),
)
numerals = st.one_of(integers, decimals, fractions)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(gold=numerals, answer=numerals)
def test_a_decided_pair_of_numbers_is_decided_as_math_verify_does(gold: str, answer: str) -> None:
    decided = same_number(gold, answer)
    if decided is not None:
        assert decided == by_math_verify(gold, answer)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(part=parts, factor=st.integers(1, 9), places=st.integers(0, 6))
def test_equal_values_in_other_spellings_are_decided_as_math_verify_does(
    part: tuple[int, int], factor: int, places: int
) -> None:
    top, bottom = part
    gold = f"\\frac{{{top}}}{{{bottom}}}"
    for answer in (f"{top * factor}/{bottom * factor}", f"{top / bottom:.{places}f}", f"{top / bottom:.{places + 1}f}"):
        decided = same_number(gold, answer)
        if decided is not None:
            assert decided == by_math_verify(gold, answer)


wrappings = st.sampled_from(
    ["{}", "x = {}", "n={}", "S = {}", "({})", "\\left({}\\right)", "{} \\text{{ cm}}", "{}\\text{{ square metres}}",
     "{}^\\circ", "{}^{{\\circ}}", "{}^\\\\circ", "{}^{{\\\\circ}}",
     "{} \\text{{ and more}}", "{} \\text{{ percent}}", "e = {}", "i={}"]
)  # fmt: skip


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    gold=numerals,
    wrapping=wrappings,
    other=st.one_of(st.none(), numerals),
    degrees=st.sampled_from(["", "", "^\\circ", "^\\\\circ", "^{\\circ}"]),
)
def test_numbers_with_a_prefix_or_unit_are_decided_as_math_verify_does(
    gold: str, wrapping: str, other: str | None, degrees: str
) -> None:
    answer = wrapping.format(other or gold)
    gold += degrees
    decided = same_number(gold, answer)
    if decided is not None:
        assert decided == by_math_verify(gold, answer)


def test_numbers_with_a_prefix_or_unit_are_recognized() -> None:
    for wrapping in ("x = {}", "({})", "{} \\text{{ cm}}", "{}^\\circ"):
        assert same_number("46", wrapping.format(46)) is True
        assert same_number("46", wrapping.format(47)) is False
        assert same_plain_number("46", wrapping.format(46)) is None


def test_numbers_too_long_or_undefined_are_not_read() -> None:
    assert read_integer("9" * 1001) is None
    assert read_numeral("1/0") is None
    assert read_numeral("0." + "1" * 16) is None


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("\\left(3, \\frac{\\pi}{2}\\right)", "(3, \\dfrac{\\pi}{2})"),
        ("\\text{Evelyn}", "\\text{Evelyn}"),
        ("x = 3", "x = 3"),
        ("\\frac{\\sqrt{2}}{2}", "\\! \\displaystyle\\tfrac{\\sqrt{2}}{2}"),
        ("9^{9^{9^{9}}}", "9^{9^{9^{9}}}"),
        ("\\frac{1}{0}", "\\frac{1}{0}"),
        ("3.", "3."),
    ],
)
def test_texts_written_alike_are_equal_and_math_verify_agrees(gold: str, answer: str) -> None:
    assert same_text(gold, answer)
    if "9^" not in gold:
        assert by_math_verify(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("1,000", "1, 000"),
        ("\\displaystyle", "\\displaystyle"),
        ("\\mathrm{th}", "\\mathrm{th}"),
        ("", ""),
        ("\\%", "\\%"),
        ("x .5", "x.5"),
        (", 1", ",1"),
        ("\\sqrt{2}", "\\sqrt{3}"),
        ("5\\boxed{}", "5\\boxed{}"),
    ],
)
def test_texts_that_only_look_alike_are_left_to_math_verify(gold: str, answer: str) -> None:
    assert not same_text(gold, answer)


pieces = st.sampled_from(
    ["1", "23", "x", " ", "+", "-", ",", "(", ")", "=", "\\frac{1}{2}", "\\dfrac{1}{2}", "\\left(", "\\right)", "\\pi",
     "^2", "\\sqrt{3}", "\\!", "\\displaystyle ", "[", "]", "0.5", "\\text{ and }", "\\infty", "\\cup", "{", "}"]
)  # fmt: skip


@settings(max_examples=250, deadline=None, derandomize=True)
@given(st.lists(pieces, min_size=1, max_size=7).map("".join))
def test_texts_judged_equal_are_equal_to_math_verify(gold: str) -> None:
    answer = gold.replace("\\dfrac", "\\frac").replace("\\left(", "(").replace("\\right)", ")").strip()
    gold = gold.strip()
    if gold.count("{") == gold.count("}") and same_text(gold, answer):
        assert by_math_verify(gold, answer)
