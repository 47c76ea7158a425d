from __future__ import annotations

import time

import pytest

from tasks.grading.scorers.boxed import last_boxed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("so \\boxed{46}", "46"),
        ("\\boxed{ 46 }.", "46"),
        ("\\boxed {46}", "46"),
        ("\\boxed{1} then \\boxed{2}", "2"),
        ("\\boxed{\\frac{\\sqrt{3}}{2}}", "\\frac{\\sqrt{3}}{2}"),
        ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
        ("\\boxed{\\boxed{5}}", "5"),
        ("\\boxed{5} and then \\boxed{12", "5"),
        ("\\boxed{5} and then \\boxed{\\frac{1}{2", "5"),
        ("\\boxed{5}, put the answer in \\boxed{}", "5"),
        ("\\boxed{5", None),
        ("\\boxed{}", None),
        ("\\boxed 5", None),
        ("46", None),
        ("", None),
    ],
)
def test_the_last_closed_non_empty_box_is_found(text: str, expected: str | None) -> None:
    assert last_boxed(text) == expected


@pytest.mark.parametrize("piece", ["\\boxed{", "{", "}", "\\boxed{}", "\\boxed", "\\boxed {"])
def test_a_megabyte_of_boxes_and_braces_is_searched_in_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    start = time.perf_counter()
    assert last_boxed(text) is None
    assert time.perf_counter() - start < 5.0
