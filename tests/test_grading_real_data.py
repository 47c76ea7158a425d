"""Problem sets in the published layout: every row grades, and verdicts agree with math-verify."""

from __future__ import annotations

import logging
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.grading import GradeRequest, GradingPool

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _benchmarks_importable() -> Iterator[None]:
    sys.path.insert(0, str(BENCHMARKS))
    yield
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def pool() -> Iterator[GradingPool]:
    with GradingPool(workers=2, seconds=20.0) as opened:
        yield opened


@pytest.mark.parametrize(
    "name",
    [
        "math__full_difficulty_ordered_test_500",
        "math__math_500",
        "gsm8k",
        "aime2024",
        "amc2023",
        "logic__zebra_puzzle_dataset_200",
        "stem__supergpqa_200",
    ],
)
def test_a_perfect_answer_scores_one_on_every_row(pool: GradingPool, name: str, problem_sets: Path) -> None:
    from grading_sets import grade_set, perfect

    assert grade_set(pool, name, perfect, 1.0, problem_sets) == []


@pytest.mark.parametrize(
    "name", ["gsm8k", "aime2024", "amc2023", "logic__zebra_puzzle_dataset_200", "stem__supergpqa_200"]
)
def test_a_wrong_answer_scores_nothing_on_every_row(pool: GradingPool, name: str, problem_sets: Path) -> None:
    from grading_sets import grade_set, wrong

    assert grade_set(pool, name, wrong, 0.0, problem_sets) == []


def test_programs_for_a_sample_of_problems_pass_and_others_fail(pool: GradingPool, problem_sets: Path) -> None:
    from grading_programs import SOLUTIONS, entry_point
    from grading_sets import perfect, read_rows, wrong

    rows = [
        (source, gold)
        for source, gold in read_rows("codegen__humaneval_164", problem_sets)
        if entry_point(gold) in SOLUTIONS
    ]
    right = pool.grade([GradeRequest(source, perfect("code", gold), gold) for source, gold in rows])
    assert len(right) >= 10
    assert [verdict.reason for verdict in right] == ["the tests passed"] * len(rows)
    assert not any(verdict.correct for verdict in pool.grade([GradeRequest(s, wrong("code", g), g) for s, g in rows]))


def test_verdicts_on_real_gold_answers_are_those_of_math_verify_or_right_where_it_reads_nothing(
    pool: GradingPool, problem_sets: Path
) -> None:
    from grading_pairs import gold_answers, pairs_of
    from math_verify import parse, verify

    logging.getLogger("math_verify").setLevel(logging.CRITICAL)
    golds = random.Random(1).sample(
        sorted({gold for gold in gold_answers(folder=problem_sets) if not gold.isdigit()}), 15
    )
    pairs = [pair for gold in golds for pair in pairs_of(gold, random.Random(gold))]
    ours = pool.grade([GradeRequest("math", pair.completion, pair.gold) for pair in pairs])
    for pair, verdict in zip(pairs, ours, strict=True):
        # math-verify reads no bare LaTeX, and no braces around a tuple or a percentage.
        theirs = verify(parse(f"\\boxed{{{pair.gold.strip()}}}"), parse(pair.completion))
        if verdict.correct != theirs:
            assert verdict.correct, pair
            assert pair.spelling != "perturbed", pair


def test_hostile_answers_score_nothing_and_harm_nothing() -> None:
    from grading_hostile import ATTACKS, GOLD, hostile_answers

    slow = {"symbolic work", "big structure", "expansion"}
    answers = [text for kind, text in hostile_answers(len(ATTACKS) * 14, seed=1) if kind not in slow]
    answers += [text for kind, text in hostile_answers(len(ATTACKS), seed=2) if kind in slow]
    with GradingPool(workers=2, seconds=1.0) as pool:
        verdicts = pool.grade([GradeRequest("math", text, GOLD) for text in answers])
        assert [verdict for verdict in verdicts if verdict.lenient or verdict.status != "wrong"] == []
        assert pool.grade([GradeRequest("math", "\\boxed{\\sqrt{289}}", GOLD)])[0].correct
