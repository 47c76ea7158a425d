r"""Rules that strip dress: what each takes, what each leaves, and what is told to be left unread."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.grading.scorers import dress_values
from tasks.grading.scorers import normalize as rules
from tasks.grading.scorers.normalize import normalize
from tasks.grading.scorers.unread import is_words, unread


@pytest.mark.parametrize(
    ("rule", "text", "expected"),
    [
        (rules.doubled_backslashes, r"8 \\text{ and } 9", r"8 \text{ and } 9"),
        (rules.doubled_backslashes, r"\begin{pmatrix}1\\x\end{pmatrix}", r"\begin{pmatrix}1\\x\end{pmatrix}"),
        (rules.unicode_mathematics, "4√7", r"4\sqrt{7}"),
        (rules.unicode_mathematics, "x³", "x^{3}"),
        (rules.unicode_mathematics, "٤", "٤"),
        (rules.layout, r"\left(1,\,2\right)", "(1, 2)"),
        (rules.layout, r"8\,125", "8125"),
        (rules.layout, r"$7$", "7"),
        (rules.fonts, r"\mathrm{e}^3", "e^3"),
        (rules.fonts, r"\mathbf{7}", "7"),
        (rules.fonts, r"7\mathrm{ km}", r"7\text{ km}"),
        (rules.spellings, r"\dfrac37", r"\frac{3}{7}"),
        (rules.spellings, r"x \leqslant 3", r"x \le  3"),
        (rules.remarks, "The answer is 8", "8"),
        (rules.remarks, r"8 (since y>0)", "8"),
        (rules.remarks, r"bx \text{ for every integer } b", "bx"),
        (rules.remarks, "8.", "8"),
        (rules.remarks, r"\text{not } 8", r"\text{not } 8"),
        (rules.connectives, r"8 \text{ or } 9", r"8 \vee 9"),
        (rules.connectives, "8 and 9", "8, 9"),
        (rules.money, "£8", "8"),
        (rules.money, r"8 \text{ USD}", "8"),
        (rules.percent, r"8\text{ percent}", r"8\%"),
        (rules.degrees, r"80^\circ", "80"),
        (rules.degrees, r"\cos 80^\circ", r"\cos {(\frac{80\pi}{180})}"),
        (rules.number_words, "nineteen", "19"),
        (rules.number_words, r"1.5\text{ million}", "1500000"),
        (rules.number_words, "twenty-zero", "twenty-zero"),
        (rules.units, r"8\text{ cm}^2", "8"),
        (rules.units, "8 apples", "8"),
        (rules.units, r"8\text{ hours } 5\text{ minutes}", r"8\text{ hours } 5\text{ minutes}"),
        (rules.units, "8k", "8k"),
        (rules.units, r"8\text{ squared}", r"8\text{ squared}"),
        (rules.numbers, "2 3/5", r"\frac{13}{5}"),
        (rules.numbers, "1.5e3", r"1.5\times 10^{3}"),
        (rules.numbers, "8,125", "8125"),
        (rules.numbers, r"\{8,125\}", r"\{8,125\}"),
        (dress_values.repeating_decimals, r"0.\overline{45}", r"\frac{45}{99}"),
        (dress_values.repeating_decimals, r"2.1\bar{6}", r"\frac{195}{90}"),
    ],
)  # fmt: skip
def test_a_rule_strips_what_it_names_and_leaves_the_rest(rule: object, text: str, expected: str) -> None:
    assert rule(text) == expected  # type: ignore[operator]


@pytest.mark.parametrize(
    "text",
    [r"n \text{ is prime}", "77_9", "6:40", r"1, \ldots, k", r"x \equiv 2 \pmod{9}", r"8\text{ ft } 2\text{ in}",
     r"5 \mid 10"],
)  # fmt: skip
def test_what_the_parser_would_drop_is_told(text: str) -> None:
    assert unread(normalize(text)) is not None


@pytest.mark.parametrize("text", [r"\frac{2}{7}", "2x+1", r"\sin x", "abc", r"(1, \infty)", r"9\text{ cm}"])
def test_what_the_parser_reads_is_not_told(text: str) -> None:
    assert unread(normalize(text)) is None


def test_words_alone_are_told_from_words_beside_mathematics() -> None:
    assert is_words(normalize(r"\text{Monday}"))
    assert not is_words(normalize(r"n = 3 \text{ is prime}"))


numbers = st.integers(-(10**6), 10**6)
dresses = st.sampled_from(
    ["{}", "The answer is {}", "{}.", "{}^\\circ", "{}\\text{{ cm}}", "${}$", "{} (since x>0)", "\\${}", "{}\\%",
     "\\mathbf{{{}}}", "{} apples", "{} \\checkmark"]
)  # fmt: skip


@settings(max_examples=200, deadline=None, derandomize=True)
@given(one=numbers, other=numbers, dress=dresses)
def test_two_values_in_one_dress_stay_two_values(one: int, other: int, dress: str) -> None:
    same = normalize(dress.format(one)) == normalize(dress.format(other))
    assert same == (one == other)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.lists(st.sampled_from([*"0123456789abx\\{}()[],.+-*/^_= %$½√°", "\\text{", "\\frac", " or "]), max_size=60).map(
        "".join
    )
)
def test_any_text_is_normalized(text: str) -> None:
    assert isinstance(normalize(text), str)


@pytest.mark.parametrize(
    "piece",
    [
        "\\text{",
        "(since ",
        " for ",
        "1,",
        "1 ",
        "0.\\overline{",
        "\\frac{1}",
        "^",
        "or ",
        "3 ft ",
        "answer is ",
        "\\\\",
        "½",
        "1e5",
        "%",
    ],
)
def test_normalizing_the_longest_answer_takes_no_time(piece: str) -> None:
    text = (piece * 4000)[:4000]
    start = time.process_time()
    unread(normalize(text))
    assert time.process_time() - start < 1.0
