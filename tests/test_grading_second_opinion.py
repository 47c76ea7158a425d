"""The audit's independent reader: right, wrong, or cannot tell, by kind of answer; and bounded on any text."""

from __future__ import annotations

import random
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.grading import GradeRequest, GradingPool
from tasks.grading.audit import audit
from tasks.grading.second_opinion.opinion import opinion


def same(answer: str, gold: str) -> bool | None:
    return opinion(f"\\boxed{{{answer}}}", gold).same


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("\\frac{6}{8}", "0.75"),
        ("0.1\\overline{6}", "\\frac16"),
        ("2\\frac{1}{4}", "9/4"),
        ("2 1/4", "\\frac{9}{4}"),
        ("1{,}204", "1,204"),
        ("17\\%", "0.17"),
        ("7 \\text{ million}", "7000000"),
        ("3√5", "3\\sqrt{5}"),
        ("\\sqrt{3}+\\sqrt{7}", "\\sqrt{10+2\\sqrt{21}}"),
        ("(x-1)(x+4)", "x^2 + 3x - 4"),
        ("\\sin 50^\\circ", "\\cos 40^\\circ"),
        ("\\frac{2+i}{1+2i}", "\\frac{4-3i}{5}"),
        ("\\log_3 81", "4"),
        ("\\binom{9}{4}", "126"),
        ("x=8 \\text{ or } x=-3", "-3, 8"),
        ("3 \\le x < 9", "[3, 9)"),
        ("x<1 \\text{ or } x>4", "(4,\\infty)\\cup(-\\infty,1)"),
        ("p=4, q=7", "(4,7)"),
        ("3x - 2y = 8", "y = \\frac{3}{2}x - 4"),
        ("x \\equiv 19 \\pmod 8", "x \\equiv 3 \\pmod 8"),
        ("8 (since n>3)", "8"),
        ("25^\\circ + 15^\\circ", "40"),
        ("\\{1, 2\\}", "\\\\{2, 1\\\\}"),
    ],
)
def test_equal_values_in_other_dress_are_the_same(answer: str, gold: str) -> None:
    assert same(answer, gold) is True


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("0.0", "\\left(\\frac{1}{7}\\right)^{12}"),
        ("2.3\\times10^{-28}", "5.1\\times10^{-22}"),
        ("\\frac{1}{31!}", "\\frac{1}{30!}"),
        ("0.99999999", "1"),
        ("43_7", "43_6"),
        ("9", "9r"),
        ("4s", "4S"),
        ("\\sin 60", "\\sin 60^\\circ"),
        ("n \\text{ is prime}", "n \\text{ is composite}"),
        ("7:15 \\text{ p.m.}", "7:15 \\text{ a.m.}"),
        ("3 \\text{ hours } 20 \\text{ minutes}", "3 \\text{ hours } 40 \\text{ minutes}"),
        ("2, 4, \\ldots, k", "2, 4, \\ldots, n"),
        ("\\ne 12", "12"),
        ("x=10, x=11, x=12", "12"),
        ("(4, 9]", "[4, 9]"),
        ("p=7, q=4", "p=4, q=7"),
        ("y = x^3", "x = y^3"),
        ("x \\equiv 4 \\pmod 8", "x \\equiv 3 \\pmod 8"),
        ("13+5=17", "12+5=17"),
        ("8", "x=8 \\text{ or } x=3"),
    ],
)
def test_other_values_are_different(answer: str, gold: str) -> None:
    assert same(answer, gold) is False


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("\\int_0^1 x\\,dx", "\\frac12"),
        ("3, 5", "(3, 5)"),
        ("5 \\text{ km}", "5 \\text{ miles}"),
        ("0.3333", "\\frac13"),
        ("35", "35\\%"),
        ("5m", "5"),
        ("\\log 100", "2"),
        ("9^{9^{9^{9}}}", "9"),
        ("\\sum_{k=1}^{9} k", "45"),
        ("2x + y - 5 = 0", "2x + y + 5 = 0"),
        ("e^{900}-e^{899}-7", "e^{900}-e^{899}-1"),
        ("6:9", "2:3"),
        ("\\pm 6", "6, -6"),
        ("\\{4, 2\\}", "\\{2, 4, 4\\}"),
        ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix} 1.0 \\\\ 4/2 \\end{pmatrix}"),
    ],
)
def test_what_is_not_read_whole_or_is_a_convention_is_not_judged(answer: str, gold: str) -> None:
    assert same(answer, gold) is None


@pytest.mark.parametrize(
    ("completion", "gold", "expected"),
    [
        ("<think>\\boxed{4}</think> So \\boxed{9}", "9", True),
        ("<think>I guess \\boxed{9}", "9", None),
        ("\\boxed{\\frac{\\boxed{3}}{5}}", "\\frac35", True),
        ("The answer is 8. No: the answer is 9.", "8", False),
        ("\\boxed{2}, \\boxed{3} and \\boxed{11}", "2, 3, 11", True),
        ("first \\boxed{2}, then \\boxed{3}", "2", False),
        ("The answer is not 8.", "8", None),
    ],
)
def test_the_final_answer_counts(completion: str, gold: str, expected: bool | None) -> None:
    assert opinion(completion, gold).same is expected


@given(st.fractions(max_denominator=10**6), st.fractions(max_denominator=10**6))
def test_numbers_are_compared_exactly(one: object, other: object) -> None:
    assert same(str(one), str(other)) is (one == other)


@given(st.text(alphabet="0123456789xyn+-*/^_=<>(){}[]|,.:!%\\ $", max_size=40))
def test_any_text_is_never_different_from_itself(text: str) -> None:
    assert opinion(f"\\boxed{{{text}}}", text).same is not False or "}" in text or "{" in text


def test_hostile_texts_end_quickly() -> None:
    pieces = ["9^", "{", "}", "(", ")", "!", "\\frac", "\\sqrt", "99999", "x", ",", "|", "\\binom", "\\sin ", "+"]
    generator = random.Random(5)
    texts = ["".join(generator.choices(pieces, k=generator.randint(1, 200))) for _ in range(500)]
    texts += ["(" * 900, "9^" * 900 + "9", "x!" * 300, "\\sqrt" * 300 + "2", "{" * 400 + "1" + "}" * 400, "2999!" * 100]
    texts += ["(x+y)^{999}" * 20, "((9^{9999})!)!", "1" * 1999, "\\pm1" * 400, "," * 999, "1," * 390 + "1"]
    for text in texts:
        start = time.process_time()
        opinion(f"\\boxed{{{text}}}", text)
        assert time.process_time() - start < 2.0, text[:80]


@pytest.mark.slow
def test_an_audit_lists_what_math_verify_cannot_see_with_both_readings() -> None:
    answers = [
        GradeRequest("math", "\\boxed{0.0}", "\\left(\\frac{1}{7}\\right)^{12}"),
        GradeRequest("math", "\\boxed{5}", "5"),
        GradeRequest("math", "\\boxed{\\int x}", "5"),
        GradeRequest("stem__supergpqa", "\\boxed{B}", "B"),
    ]
    with GradingPool(workers=1, seconds=20.0) as pool:
        found = audit(answers, pool)
    assert (found.audited, found.reader_judged) == (3, 2)
    assert [each.status for each in found.reader_verdicts] == ["wrong", "right", "unjudged"]
    assert found.reader_verdicts[0].reason == "0 against ((1 / 7) ^ 12)"
    for row in found.reading_rows():
        assert (row["row"], row["ours"], row["other"]) == (0, "right", "wrong")
        assert row["readings"] == "0 against ((1 / 7) ^ 12)"


def test_the_reader_needs_neither_math_verify_nor_sympy() -> None:
    code = (
        "import sys, tasks.grading.second_opinion.opinion as o\n"
        "assert o.opinion('\\\\boxed{x+1}', '1+x').same is True\n"
        "assert not {'sympy', 'math_verify', 'latex2sympy2_extended'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
