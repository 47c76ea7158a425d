r"""Answers whose right verdicts are known, by kind: what each ground truth must pay for, and what it must not.

Written after the rules, from what graders of mathematics are known to get wrong; the answers stand in a box unless they
hold one. A verdict judges the final answer (the lenient score).
"""

from __future__ import annotations

import pytest

from tasks.grading import GradeRequest, GradingPool

pytestmark = pytest.mark.slow

# (kind, ground truth, right answers, wrong answers)
PROBES: tuple[tuple[str, str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("size", r"10^{-8}", (r"0.00000001", r"1\times 10^{-8}"), ("0", "10^{-9}", "0.0000001")),
    ("size", r"\frac{1}{2^{40}}", ("2^{-40}",), (r"\frac{1}{2^{41}}", "0")),
    ("size", r"6.022\times 10^{23}", ("6.022e23",), (r"6.022\times 10^{22}", r"6.023\times 10^{23}")),
    ("size", "2^{100}-1", ("1267650600228229401496703205375",), ("2^{100}",)),
    ("size", r"\pi", (r"3.14159265",), ("3.14", r"\frac{22}{7}", r"\frac{355}{113}")),
    ("read whole", "odd", (r"\text{odd}", "Odd"), ("even", "1")),
    ("read whole", "101_2", ("101_{2}", r"101_{\text{two}}"), ("101_3", "101", "5")),
    ("read whole", r"3 \text{ hours } 20 \text{ minutes}", (r"3\text{ hours }20\text{ minutes}",),
     ("3", r"3\text{ hours}", r"3\text{ hours }25\text{ minutes}")),
    ("read whole", r"10:30\text{ a.m.}", ("10:30 a.m.", r"10:30\text{ am}"), ("10:30 p.m.", "10")),
    ("read whole", r"n \equiv 3 \pmod 7", (r"3 \pmod 7", r"n\equiv 10\pmod{7}"), (r"3 \pmod 8", r"4 \pmod 7")),
    ("read whole", "2n", ("2n",), (r"2n\text{ for odd }n", "2", "n")),
    ("read whole", "50!", ("50!",), ("50", "50!!", "49!")),
    ("relation", r"x \ge 4", (r"[4,\infty)", r"4\le x"), ("x>4", r"x\le 4", "4", "x=4")),
    ("relation", "y=2x+3", ("y = 3+2x", "2x - y + 3 = 0"), ("y=2x-3", "x=2y+3")),
    ("relation", "5", ("x=5",), ("x<5", r"x\ne 5", r"4 \text{ or } 5", "5,6")),
    ("relation", r"\{x \mid x>1\}", ("x>1", r"(1,\infty)"), (r"x\ge1",)),
    ("names", "(a,b)=(2,3)", ("(2,3)", "a=2, b=3"), ("(3,2)", "a=3,b=2")),
    ("names", "k", ("k",), ("K", "1")),
    ("degrees", r"\sin 1", (r"\sin(1)",), (r"\sin 1^\circ",)),
    ("degrees", r"60^\circ", ("60", r"60\text{ degrees}", "60°"), (r"30^\circ", r"\frac{\pi}{6}")),
    ("degrees", r"\frac{\sqrt{3}}{2}", (r"\sin 60^\circ", r"\cos 30^{\circ}"), (r"\sin 60", r"\sin 30^\circ")),
    ("boxes", "12",
     (r"<think>\boxed{11}</think>So \boxed{12}", r"\boxed{\boxed{12}}", r"\boxed{11}, no: \boxed{12}"),
     (r"<think>\boxed{12}", r"<think>\boxed{12}</think>\boxed{13}", r"\boxed{12} ... wait, \boxed{13}")),
    ("lists", "2, 5", (r"\boxed{2} and \boxed{5}", r"\boxed{5}, \boxed{2}", r"\{2,5\}", "x=2,x=5"),
     ("2", r"\boxed{2} and \boxed{6}", "2,5,7")),
    ("lists", r"\pm 3", ("3,-3", r"x=\pm 3", r"-3 \text{ or } 3"), ("3", "-3")),
    ("remarks", "7", (r"\text{The answer is } 7", r"7\,.", r"7 \text{ (by symmetry)}", r"7 \checkmark", "seven"),
     (r"\text{not } 7", "7?", r"7 \text{ or } 8", "7!")),
    ("remarks", r"\frac{1}{2}", (r"\text{Probability} = \frac{1}{2}", r"\left(\frac12\right)", r"P=\frac12"),
     (r"\frac{1}{2}x",)),
    ("remarks", r"\text{Tuesday}", ("tuesday", r"\textbf{Tuesday}", r"\text{Tuesday.}"),
     ("Thursday", r"\text{not Tuesday}")),
    ("Unicode", r"\frac{3}{4}", ("¾", "3⁄4"), ("¼",)),
    ("Unicode", r"2\sqrt{3}", ("2√3", "√12"), ("3√2",)),
    ("currency", "5", ("₤5", "£5", "5€", "₦5", r"US\$5", r"\$5.00"), ("£6", r"\$50")),
    ("currency", "£6", ("£6", "6"), ("€6", r"\$6", "£7")),
    ("number words", r"\frac{1}{2}", ("one half", "one-half", r"\text{a half}", "half"),
     ("one third", "two halves", "one")),
    ("number words", r"\frac{2}{3}", ("two thirds", "two-thirds"), ("two fifths", "three halves")),
    ("number words", r"\frac{11}{4}", ("two and three quarters", "2 3/4"), ("two", "three quarters")),
    ("number words", "120", ("one hundred twenty", "one hundred and twenty"), ("one hundred",)),
    ("number words", "1500", ("fifteen hundred", r"1.5 \text{ thousand}", "1 500"), ("fifteen",)),
    ("number words", "-4", ("minus 4", "negative four"), ("four", "4")),
    ("number words", "23", ("twenty-three",), ("twenty-third", "twenty thirds")),
    ("units", "80", (r"80\,\text{km}/\text{h}", "80 km/h"), (r"80\text{ km}\cdot 2",)),
    ("percent", r"12.5\%", ("12.5", r"\frac{1}{8}", r"12.5 \text{ percent}"), ("1.25", r"125\%")),
    ("repeating", r"\frac{5}{11}", (r"0.\overline{45}", r"0.454545\ldots"), ("0.45", r"0.\overline{54}")),
    ("intervals", "(1,4)", ("1<x<4", r"\{x: 1<x<4\}", "4>x>1"), (r"1\le x<4", "1<x<5")),
    ("intervals", "[-2,2]", (r"|x|\le 2", r"\{x\mid -2\le x\le2\}"), ("(-2,2)", "-2<x<2", "-2,2")),
    ("complex", r"e^{i\pi/3}", (r"\frac{1}{2}+\frac{\sqrt3}{2}i",), (r"e^{i\pi/4}",)),
    ("forms", r"\binom{6}{2}", ("15", r"{6 \choose 2}", r"6 \choose 2"), ("20",)),
    ("forms", r"A \cup B", (r"A \cup B", r"A\cup B"), (r"A\cap B",)),
    ("forms", r"\sqrt{x}\sqrt{y}", (r"\sqrt{x}\sqrt{y}", r"\sqrt{y}\sqrt{x}"), (r"\sqrt{x}+\sqrt{y}",)),
    ("forms", r"\sqrt{2}+\sqrt{3}", (r"\sqrt{5+2\sqrt{6}}",), (r"\sqrt{5}",)),
)  # fmt: skip

# Ground truths that hardly any reader takes: an answer with the same letters is right or cannot be judged.
ODD = (
    r"\overline{AB}", r"\triangle ABC", r"P(A|B)", r"a \mid b", r"p \to q", r"\neg p", r"AB \parallel CD", r"\aleph_0",
    r"12:30", r"\int x\,dx", r"\frac{dy}{dx}", r"f'(x)", r"\hat{i}+2\hat{j}", r"x \mapsto x^2", r"\text{(A) and (B)}",
    r"30\% \text{ off}", r"x \bmod 5", r"\|v\|", r"1/0", r"a^b^c", r"\square", r"\ldots", r"2 \text{ km/h}", "₤5", "-",
)  # fmt: skip


@pytest.fixture(scope="module")
def pool() -> object:
    with GradingPool(workers=1, seconds=20.0) as opened:
        yield opened


@pytest.mark.parametrize("kind", dict.fromkeys(kind for kind, *_ in PROBES))
def test_right_answers_are_right_and_wrong_ones_are_not(pool: GradingPool, kind: str) -> None:
    cases = [
        (gold, answer, expected)
        for name, gold, right, wrong in PROBES
        if name == kind
        for answers, expected in ((right, True), (wrong, False))
        for answer in answers
    ]
    boxed = [answer if "\\boxed" in answer else f"\\boxed{{{answer}}}" for _, answer, _ in cases]
    verdicts = pool.grade([GradeRequest("math", text, gold) for text, (gold, _, _) in zip(boxed, cases, strict=True)])
    assert [
        (gold, answer, verdict.reason)
        for (gold, answer, expected), verdict in zip(cases, verdicts, strict=True)
        if verdict.correct != expected
    ] == []


def test_an_answer_equal_to_its_ground_truth_is_never_wrong(pool: GradingPool) -> None:
    golds = [*ODD, *(gold for _, gold, _, _ in PROBES)]
    verdicts = pool.grade([GradeRequest("math", f"\\boxed{{{gold}}}", gold) for gold in golds])
    assert [gold for gold, verdict in zip(golds, verdicts, strict=True) if verdict.status == "wrong"] == []
