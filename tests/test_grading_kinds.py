r"""Verdicts by kind of trap: what must never pay (P), what must not be refused (N). Rows are our own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tasks.grading import GradeRequest, GradingPool

pytestmark = pytest.mark.slow

MATH = [
    ("N1", r"\boxed{\text{The answer is } 12}", r"12", True),
    ("N1", r"\boxed{7.}", r"7", True),
    ("N1", r"\boxed{x = 7 \text{ (since } x > 0)}", r"7", True),
    ("N1", r"\boxed{7 \text{ because } x>0}", r"7", True),
    ("N1", r"\boxed{\text{Answer: } 7}", r"7", True),
    ("N1", r"\boxed{7!}", r"7", False),
    ("N1", '\\boxed{"7"}', r"7", True),
    ("N1", r"\boxed{7 (approximately)}", r"7", True),
    ("N1", r"\boxed{\approx 7}", r"7", False),
    ("N2", r"\boxed{3√2}", r"3\sqrt{2}", True),
    ("N2", r"\boxed{√(x+1)}", r"\sqrt{x+1}", True),
    ("N2", r"\boxed{x² + y²}", r"x^2+y^2", True),
    ("N2", r"\boxed{x₁}", r"x_1", True),
    ("N2", r"\boxed{2 × 3}", r"6", True),
    ("N2", r"\boxed{∞}", r"\infty", True),
    ("N2", r"\boxed{45°}", r"45^\circ", True),
    ("N2", r"\boxed{π/4}", r"\frac{\pi}{4}", True),
    ("N2", r"\boxed{x ≥ 3}", r"[3,\infty)", True),
    ("N3", r"\boxed{seven}", r"7", True),
    ("N3", r"\boxed{\text{twenty-one}}", r"21", True),
    ("N3", r"\boxed{2.5 \text{ million}}", r"2500000", True),
    ("N3", r"\boxed{12\,345}", r"12345", True),
    ("N3", r"\boxed{1.2e3}", r"1200", True),
    ("N3", r"\boxed{1.2 \times 10^3}", r"1200", True),
    ("N3", r"\boxed{2\frac{1}{3}}", r"\frac73", True),
    ("N3", r"\boxed{-2\frac{1}{3}}", r"-\frac73", True),
    ("N3", r"\boxed{€20}", r"20", True),
    ("N4", r"\boxed{28\%}", r"28 \text{ percent}", True),
    ("N4", r"\boxed{28\%}", r"0.28", True),
    ("N4", r"\boxed{28}", r"28\%", True),
    ("N4", r"\boxed{2.8}", r"28\%", False),
    ("N4", r"\boxed{28\%}", r"28\%", True),
    ("N5", r"\boxed{0.\overline{27}}", r"\frac{3}{11}", True),
    ("N5", r"\boxed{1.2\overline{3}}", r"\frac{37}{30}", True),
    ("N5", r"\boxed{0.\overline{27}}", r"\frac{4}{11}", False),
    ("N5", r"\boxed{\frac13}", r"0.\overline{3}", True),
    ("N6", r"\boxed{x > 3}", r"(3, \infty)", True),
    ("N6", r"\boxed{(3, \infty)}", r"x > 3", True),
    ("N6", r"\boxed{3 < x}", r"x > 3", True),
    ("N6", r"\boxed{x \ge 3}", r"x > 3", False),
    ("N6", r"\boxed{1 \le x < 2}", r"[1,2)", True),
    ("N6", r"\boxed{\{x : 1 \le x < 2\}}", r"[1,2)", True),
    ("N6", r"\boxed{x \in [1,2)}", r"[1,2)", True),
    ("N6", r"\boxed{x < 1 \text{ or } x \geq 2}", r"(-\infty,1)\cup[2,\infty)", True),
    ("N6", r"\boxed{(-\infty,1) \text{ or } [2,\infty)}", r"(-\infty,1)\cup[2,\infty)", True),
    ("N7", r"\boxed{i^2}", r"-1", True),
    ("N7", r"\boxed{(1+i)^2}", r"2i", True),
    ("N7", r"\boxed{2i+1}", r"1+2i", True),
    ("N7", r"\boxed{2\operatorname{cis}(0)}", r"2", False),
    ("N7", r"\boxed{\frac{1}{2}-\frac{\sqrt3}{2}i}", r"\frac{1-i\sqrt3}{2}", True),
    ("N7", r"\boxed{e^{-i\pi/2}}", r"-i", True),
    ("N7", r"\boxed{e^{-i\pi/2}}", r"i", False),
    ("N8", r"\boxed{\sin 30^\circ}", r"\frac12", True),
    ("N8", r"\boxed{2\sin(60^\circ)}", r"\sqrt3", True),
    ("N8", r"\boxed{\tan 45°}", r"1", True),
    ("N8", r"\boxed{\sin^2 30^{\circ}}", r"\frac14", True),
    ("N9", r"\boxed{5!}", r"120", True),
    ("N9", r"\boxed{\sqrt[3]{8}}", r"2", True),
    ("N9", r"\boxed{\sqrt{50}}", r"5\sqrt2", True),
    ("N9", r"\boxed{\log_2 8}", r"3", True),
    ("N9", r"\boxed{\binom{5}{2}}", r"10", True),
    ("N9", r"\boxed{2^{10}}", r"1024", True),
    ("N9", r"\boxed{\frac{1}{\sqrt2}}", r"\frac{\sqrt2}{2}", True),
    ("N9", r"\boxed{\ln 4}", r"2\ln 2", True),
    ("N9", r"\boxed{(x+1)^2}", r"x^2+2x+1", True),
    ("N11", r"\boxed{2} and \boxed{3}", r"2, 3", True),
    ("N11", r"\boxed{2} and \boxed{3}", r"2, 3, 5", False),
    ("N11", r"$x=\boxed{2}$ or $x=\boxed{-2}$", r"\pm 2", True),
    ("N12", r"\fbox{46}", r"46", True),
    ("N12", r"答案是 46", r"46", True),
    ("N12", r"答案：46。", r"46", True),
    ("N13", r"\sqrt{2}", r"\sqrt{2}", True),
    ("N13", r"\frac{\sqrt{3}}{2}", r"\frac{\sqrt{3}}{2}", True),
    ("N13", r"$\pi$", r"\pi", True),
    ("N13", r"x^2+1", r"1+x^2", True),
    ("N13", r"\text{Evelyn}", r"\text{Evelyn}", True),
    ("N13", r"\{1,2\}", r"\{1,2\}", True),
    ("P1", r"\boxed{2.718281828}", r"e", True),
    ("P1", r"\boxed{3.14}", r"\pi", False),
    ("P1", r"\boxed{0}", r"10^{-20}", False),
    ("P1", r"\boxed{10^{-20}x}", r"2\cdot 10^{-20}x", False),
    ("P1", r"\boxed{6.02\times 10^{23}}", r"6.03\times 10^{23}", False),
    ("P1", r"\boxed{1.41421356}", r"\sqrt2", True),
    ("P1", r"\boxed{1.4143}", r"\sqrt2", False),
    ("P2", r"\boxed{3:30 \text{ PM}}", r"3:30", False),
    ("P2", r"\boxed{12 \text{ or more}}", r"12", False),
    ("P2", r"\boxed{12 \text{ dozen}}", r"12", False),
    ("P2", r"\boxed{12_7}", r"12_8", False),
    ("P2", r"\boxed{12_7}", r"12", False),
    ("P2", r"\boxed{12_{7}}", r"12_7", True),
    ("P2", r"\boxed{3 \text{ feet } 4 \text{ inches}}", r"3", False),
    ("P2", r"\boxed{3 ft 4 in}", r"3", False),
    ("P2", r"\boxed{2k}", r"2", False),
    ("P3", r"\boxed{\leq 5}", r"5", False),
    ("P3", r"\boxed{x \le 5}", r"5", False),
    ("P3", r"\boxed{x > 5}", r"5", False),
    ("P3", r"\boxed{\approx 5}", r"5", False),
    ("P3", r"\boxed{4 \text{ or } 5}", r"5", False),
    ("P3", r"\boxed{4/5 \text{ or } 5}", r"5", False),
    ("P3", r"\boxed{4; 5}", r"5", False),
    ("P3", r"\boxed{4 \text{ and } 5}", r"5", False),
    ("P3", r"\boxed{2x = 10}", r"5", False),
    ("P4", r"\boxed{aB}", r"Ab", False),
    ("P4", r"\boxed{a^2}", r"A^2", False),
    ("P4", r"\boxed{R^2}", r"r^2", False),
    ("P4", r"\boxed{y=3, x=2}", r"x=2, y=3", True),
    ("P4", r"\boxed{x=3, y=2}", r"(2,3)", False),
    ("P4", r"\boxed{(3,2)}", r"x=2, y=3", False),
    ("P4", r"\boxed{3,2}", r"x=2, y=3", False),
    ("P4", r"\boxed{(2,1)}", r"(1,2)", False),
    ("P4", r"\boxed{(1,2),(3,4)}", r"(3,4),(1,2)", True),
    ("P5", r"\boxed{\sin 30}", r"\frac12", False),
    ("P5", r"\boxed{\pi/6}", r"\frac{\pi}{6}^\circ", False),
    ("P6", r"<think>\boxed{46}</think>", r"46", False),
    ("P6", r"<think>\boxed{46}", r"46", False),
    ("P6", r"<think>a \boxed{45}</think> so \boxed{46}", r"46", True),
    ("P6", r"\boxed{\fbox{46}}", r"46", True),
    ("P6", r"\boxed{2 + \boxed{3}}", r"5", True),
    ("P6", r"\boxed{2 + \boxed{3}}", r"3", False),
    ("P6", r"\boxed{46} then \boxed{47}", r"46", False),
    ("P7", r"The answer is not 46.", r"46", False),
    ("P7", r"The answer is not 46. It is 47.", r"46", False),
    ("P7", r"The answer cannot be 46.", r"46", False),
    ("P7", r"The answer is either 46 or 47.", r"46", False),
    ("P7", r"I considered 46 but rejected it.", r"46", False),
    ("P7", r"The answer is 45, not 46.", r"46", False),
    ("P7", r"Hence $x = 46$.", r"46", True),
    ("P7", r"The final answer is $\frac{1}{2}$.", r"0.5", True),
    ("P7", r"The answer is 1,234 dollars.", r"1234", True),
]  # fmt: skip
CHOICES = [
    (r"\boxed{\textbf{B}}", True),
    (r"\boxed{\text{B) 3 cm}}", True),
    (r"\boxed{(B) 3 cm}", True),
    (r"\boxed{Option B: 3 cm}", True),
    (r"\boxed{[B]}", True),
    (r"\boxed{\mathbf{(B)}}", True),
    (r"\boxed{B and C}", False),
    (r"\boxed{B. and C}", False),
    (r"\boxed{B,D}", False),
    (r"\boxed{B: C}", False),
    (r"\boxed{B) or C)}", False),
    (r"\boxed{not B}", False),
    (r"\boxed{Because}", False),
    (r"The answer is A. Option B is wrong.", False),
    (r"The answer is A, not B.", False),
    (r"故选 B", True),
    (r"B", True),
    (r"(B)", True),
]


@pytest.fixture(scope="module")
def pool() -> Iterator[GradingPool]:
    with GradingPool(workers=1, seconds=20.0) as opened:
        yield opened


@pytest.mark.parametrize(("kind", "completion", "gold", "right"), MATH)
def test_the_value_decides_and_nothing_else(
    pool: GradingPool, kind: str, completion: str, gold: str, right: bool
) -> None:
    verdict = pool.grade([GradeRequest("math", completion, gold)])[0]
    assert verdict.correct == right, (kind, verdict)


@pytest.mark.parametrize(("completion", "right"), CHOICES)
def test_a_choice_is_one_letter_however_it_is_written(pool: GradingPool, completion: str, right: bool) -> None:
    assert pool.grade([GradeRequest("supergpqa", completion, "B")])[0].correct == right


@pytest.mark.parametrize("gold", [r"n \text{ is prime}", "77_9", "6:40", r"1, 3, \ldots, k"])
def test_a_gold_answer_of_which_a_part_is_not_read_judges_equal_texts_only(pool: GradingPool, gold: str) -> None:
    answers = [gold, "n", "77", "6", "k", "\\frac{6}{40}"]
    verdicts = pool.grade([GradeRequest("math", f"\\boxed{{{answer}}}", gold) for answer in answers])
    assert [verdict.status for verdict in verdicts] == ["right"] + ["unjudged"] * 5


@pytest.mark.parametrize("value", ["10^{-9}", "\\frac{1}{7^{30}}", "1 - 10^{-12}", "8 \\cdot 10^{30}"])
def test_a_changed_value_never_becomes_right(pool: GradingPool, value: str) -> None:
    for change in (f"2({value})", f"({value})^2", f"-({value})", "0", "1", "0.0", "1.0"):
        assert pool.grade([GradeRequest("math", f"\\boxed{{{change}}}", value)])[0].status == "wrong", change


@pytest.mark.parametrize(
    ("gold", "answer"),
    [("900! - 1", "900! - 2"), ("e^{900} - 1", "e^{900} - 2"), ("\\pi", "\\pi + 10^{-45}"), ("x", "x + 10^{-50}")],
)
def test_a_difference_behind_many_digits_is_seen(pool: GradingPool, gold: str, answer: str) -> None:
    assert pool.grade([GradeRequest("math", f"\\boxed{{{answer}}}", gold)])[0].status == "wrong"
    assert pool.grade([GradeRequest("math", f"\\boxed{{{gold} + 0}}", gold)])[0].status == "right"


@pytest.mark.parametrize(("gold", "answer"), [("6\\text{ m}", "6\\text{ cm}"), ("6\\text{ hours}", "6 minutes")])
def test_another_unit_of_the_same_quantity_is_another_value(pool: GradingPool, gold: str, answer: str) -> None:
    assert pool.grade([GradeRequest("math", f"\\boxed{{{answer}}}", gold)])[0].status == "wrong"
