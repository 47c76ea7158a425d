r"""Normalised text, recognised instructions, repaired backslashes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.prepare.sources.instructions import bare_problem, carries_instruction, with_instructions
from tasks.prepare.sources.normalize import normalize, numbers
from tasks.prepare.sources.rows import repair_backslashes

PREFIX = "You are a knowledgeable math assistant. Answer the following questions and think step by step."
SUFFIX = r"Please output the final answer within \boxed{}."


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"Find $x^{2}-\dfrac{1}{2}$.", r"find \( x^2 - \frac12 \)".replace("12", "{1}{2}")),
        ("12. How many cats?", "How many cats ?"),
        ("## Task 3 - 020613\n\nHow old is Paul?", "How old is Paul?"),
        ("(7) Compute 2 × 3", "Compute $2 \\times 3$"),
        ("Let a ≤ b", r"Let $a \leqslant b$"),
        ("area [asy] draw(A--B); [/asy] of ABC", "Area of $ABC$"),
        (r"\begin{array}{l} x=1 \\ y=2 \end{array}", "x = 1, y = 2"),
        ("ﬁnd the value", "find the value"),
    ],
)
def test_two_formattings_of_a_problem_normalize_to_one_text(one: str, other: str) -> None:
    assert normalize(one) == normalize(other) != ""


@pytest.mark.parametrize(
    ("one", "other"),
    [("7+5=", "7-5="), ("12+3=", "1+23="), ("x/2", "x*2"), ("a < b", "a > b"), ("求最大值", "求最小值")],
)
def test_different_problems_keep_different_texts(one: str, other: str) -> None:
    assert normalize(one) != normalize(other)


@settings(deadline=None)
@given(st.text(max_size=60))
def test_normalized_text_is_tokens_joined_by_single_spaces_and_a_fixed_point(text: str) -> None:
    once = normalize("x " + text)
    assert once.split() == once.split(" ")
    assert normalize(once) == once


def test_numbers_are_those_of_the_text_in_order_of_size_as_text() -> None:
    assert numbers(normalize("from 12 to 7, and 12 again")) == ["12", "12", "7"]


def test_an_instruction_already_there_is_recognized_and_not_doubled() -> None:
    published = f"{PREFIX} What is 2+2? {SUFFIX}"
    assert with_instructions(published, PREFIX, SUFFIX) == published
    assert bare_problem(published) == bare_problem(published, PREFIX, SUFFIX) == "What is 2+2?"


def test_a_bare_problem_gets_both_instructions_once() -> None:
    asked = with_instructions("What is 2+2?", PREFIX, SUFFIX)
    assert asked == f"{PREFIX} What is 2+2? {SUFFIX}"
    assert with_instructions(asked, PREFIX, SUFFIX) == asked


@pytest.mark.parametrize(
    "text",
    [
        r"You are a helpful assistant. What is 2+2? Put your final answer within \boxed{}.",
        r"What is 2+2? Please solve step by step and put your final answer within \boxed{}.",
        r"What is 2+2? Let's think step by step and output the final answer within \boxed{}.",
        "You are a careful assistant. Solve the following problem. What is 2+2?",
    ],
)
def test_other_wordings_of_instructions_are_recognized(text: str) -> None:
    assert bare_problem(text) == "What is 2+2?"


def test_a_problem_that_itself_begins_with_write_is_not_taken_for_the_request() -> None:
    assert bare_problem(rf"Write $\frac{{3}}{{20}}$ as a decimal {SUFFIX}") == r"Write $\frac{3}{20}$ as a decimal"


def test_a_problem_about_an_assistant_is_no_instruction() -> None:
    text = "Anna is an assistant. How many boxes does she carry?"
    assert not carries_instruction(text, PREFIX)
    assert bare_problem(text) == text


@pytest.mark.parametrize(
    ("damaged", "whole"),
    [
        (r"\\frac{1}{2}", r"\frac{1}{2}"),
        (r"[1-\\frac{\\sqrt{2}}{2},1]", r"[1-\frac{\sqrt{2}}{2},1]"),
        (r"\\\\frac{1}{2}", r"\\frac{1}{2}"),  # halved once: only one escaping is undone
        (r"\\{1, 2\\}", r"\{1, 2\}"),
        (r"Simplify: \\( \dfrac {\sin 7}{2} \\).", r"Simplify: \( \dfrac {\sin 7}{2} \)."),
    ],
)
def test_doubled_backslashes_are_undone(damaged: str, whole: str) -> None:
    assert repair_backslashes(damaged) == whole


@pytest.mark.parametrize(
    "text",
    [
        r"\begin{pmatrix} -1/3 \\ 2/3 \\ 5/3 \end{pmatrix}",
        r"f(i,j)=\begin{cases} 1 & i=0,\\f(i-1,1) & j=0 \end{cases}",
        r"\begin{aligned} (a) \\ (b) \\ (c) \end{aligned}",
        "x = 1 \\\\ y = 2",
        r"\frac{1}{2}",
        "no backslash",
    ],
)
def test_line_breaks_and_single_backslashes_are_left_alone(text: str) -> None:
    assert repair_backslashes(text) == text


@settings(deadline=None)
@given(st.text(alphabet="\\abc{}$ 12(", max_size=60))
def test_repair_only_ever_removes_backslashes(text: str) -> None:
    repaired = repair_backslashes(text)
    assert repaired.replace("\\", "") == text.replace("\\", "")
    assert len(repaired) <= len(text)


@pytest.mark.parametrize("piece", ["\\\\( ", "[asy] ", " ", "Please ", "\\\\[", "(", "$", "You are a "])
def test_hostile_repetition_takes_no_more_than_a_moment(piece: str) -> None:
    text = "a" + piece * 100_000 + "b"
    begun = time.process_time()
    normalize(text)
    repair_backslashes(text)
    bare_problem(text)
    assert time.process_time() - begun < 5.0
