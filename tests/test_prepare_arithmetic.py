"""The generator: levels, keys, counted digit operations, deterministic draws."""

from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.arithmetic import FORMS, MAX_LEVEL, Expression, capacity, draw, sample
from tasks.study.errors import InputError

expressions = st.builds(
    Expression, st.integers(0, 10**6), st.sampled_from("+-*"), st.integers(0, 10**6), st.just(1)
).map(lambda e: e if e.operator != "-" or e.a >= e.b else Expression(e.b, "-", e.a, e.level))


@pytest.mark.parametrize("level", range(1, MAX_LEVEL + 1))
def test_draws_have_the_forms_of_their_level_and_right_answers(level: int) -> None:
    shapes = {(form.operator, *sorted((form.digits_a, form.digits_b))) for form in FORMS[level]}
    for expression in draw(level, 60, seed=3):
        assert (expression.operator, *sorted((len(str(expression.a)), len(str(expression.b))))) in shapes or (
            expression.operator == "-"
        )
        assert int(expression.answer) == eval(expression.text.rstrip("="))
        assert int(expression.answer) >= 0


def test_draws_are_distinct_problems_also_under_commutation() -> None:
    drawn = draw(2, 1000, seed=0)
    problems = {(e.operator, frozenset((e.a, e.b))) if e.operator != "-" else (e.operator, e.a, e.b) for e in drawn}
    assert len(problems) == len({e.key for e in drawn}) == 1000


def test_capacity_of_level_one_is_what_enumeration_gives() -> None:
    pairs = list(itertools.product(range(10), repeat=2))
    keys = {Expression(a, "+", b, 1).key for a, b in pairs} | {Expression(a, "-", b, 1).key for a, b in pairs if a >= b}
    assert capacity(1) == len(keys)
    assert {e.key for e in draw(1, len(keys), seed=5)} == keys


def test_a_seed_decides_a_draw_and_another_seed_gives_another() -> None:
    assert draw(4, 50, seed=1) == draw(4, 50, seed=1)
    assert draw(4, 50, seed=1) != draw(4, 50, seed=2)


def test_excluded_keys_are_never_drawn_or_sampled() -> None:
    barred = {e.key for e in draw(1, 80, seed=0)}
    assert not barred & {e.key for e in draw(1, 20, seed=1, exclude=barred)}
    assert not barred & {e.key for e in sample([1], 500, seed=1, exclude=barred)}


def test_more_problems_than_a_level_has_are_refused_by_name() -> None:
    with pytest.raises(InputError, match="level 1: 1000 problems wanted"):
        draw(1, 1000, seed=0)
    with pytest.raises(InputError, match="level 99"):
        capacity(99)


def test_sampling_mixes_levels_equally_and_is_fast_enough_to_pretrain_on() -> None:
    begun = time.process_time()
    drawn = sample([1, 2, 3], 30_000, seed=0)
    assert time.process_time() - begun < 3.0
    shares = [sum(e.level == level for e in drawn) / 30_000 for level in (1, 2, 3)]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.02)


@pytest.mark.parametrize(
    ("a", "operator", "b", "operations"),
    [
        (3, "+", 4, 1),  # one column
        (7, "+", 5, 2),  # one column, one carry
        (45, "+", 32, 2),
        (95, "+", 8, 4),  # two columns, two carries
        (83, "-", 47, 3),  # two columns, one borrow
        (40, "-", 10, 2),
        (100, "-", 1, 5),  # three columns, two borrows
        (6, "*", 8, 1),
        (23, "*", 7, 3),  # two products, one carry
        (12, "*", 34, 7),  # 2 + 2 products, then 4 + 36: two columns and a carry
        (12, "-", 5, 3),  # two columns, one borrow
        (0, "+", 0, 1),
    ],
)
def test_digit_operations_are_those_counted_by_hand(a: int, operator: str, b: int, operations: int) -> None:
    assert Expression(a, operator, b, 1).digit_operations == operations


@settings(deadline=None)
@given(expressions)
def test_a_key_depends_on_the_problem_and_not_on_its_formatting(expression: Expression) -> None:
    swapped = Expression(expression.b, expression.operator, expression.a, expression.level)
    same = expression.operator != "-" or expression.a == expression.b
    assert (expression.key == swapped.key) is same
    assert expression.digit_operations >= 1
