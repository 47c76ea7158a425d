"""Intervals and pass@k against published formulas, enumeration and statsmodels."""

from __future__ import annotations

from itertools import combinations

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.proportion import proportion_confint

from tasks.records.samples import Sample, read_samples, write_samples
from tasks.records.scores import score_of
from tasks.records.statistics import mean_pass_at_k, pass_at_k, wilson_interval
from tasks.study.errors import InputError


@given(trials=st.integers(1, 3000), share=st.floats(0, 1))
def test_wilson_interval_equals_statsmodels_for_any_proportion(trials: int, share: float) -> None:
    right = round(share * trials)
    low, high = proportion_confint(right, trials, alpha=0.05, method="wilson")
    assert wilson_interval(right / trials, trials) == pytest.approx((max(0.0, low), min(1.0, high)), abs=1e-12)


@pytest.mark.parametrize(("samples", "right"), [(1, 0), (1, 1), (5, 2), (8, 8), (6, 1)])
def test_pass_at_k_equals_enumeration_of_all_draws(samples: int, right: int) -> None:
    outcomes = [True] * right + [False] * (samples - right)
    for k in range(1, samples + 1):
        draws = [any(draw) for draw in combinations(outcomes, k)]
        assert pass_at_k(k, samples, right) == pytest.approx(sum(draws) / len(draws), abs=1e-12)


def test_pass_at_1_is_the_mean_share_of_right_samples() -> None:
    assert mean_pass_at_k(1, 4, [0, 1, 4]) == pytest.approx((0 + 0.25 + 1) / 3)


@pytest.mark.parametrize(("k", "samples", "right"), [(0, 4, 1), (5, 4, 1), (1, 4, 5)])
def test_pass_at_k_refuses_impossible_counts(k: int, samples: int, right: int) -> None:
    with pytest.raises(ValueError, match="cannot be estimated"):
        pass_at_k(k, samples, right)


def test_wilson_refuses_no_trials() -> None:
    with pytest.raises(ValueError, match="at least one trial"):
        wilson_interval(0.5, 0)


def _sample(problem: str, number: int, status: str, tokens: int = 3, finish: str = "stop") -> Sample:
    return Sample(
        problem,
        number,
        "text",
        tokens,
        finish,
        status,
        None,
        float(status == "right"),
        "reason",
        float(status == "right"),
    )


def test_score_counts_right_truncated_and_unjudged_samples() -> None:
    rows = [_sample("a", 0, "right"), _sample("a", 1, "wrong", 5, "length")]
    rows += [_sample("b", 0, "unjudged"), _sample("b", 1, "right")]
    score = score_of("run", "heldout", rows, (1, 2, 4), "transformers")
    assert (score.problems, score.samples, score.right, score.unjudged) == (2, 2, 2, 1)
    assert score.pass_at_k == {"1": 0.5, "2": 1.0}
    assert (score.truncated, score.mean_length) == (0.25, 3.5)


def test_score_counts_right_answers_out_of_their_form_as_lenient_alone() -> None:
    stated = Sample("a", 0, "The answer is 5.", 3, "stop", "right", "5", 0.0, "same number", 1.0)
    partly = Sample("c", 0, "a grid", 3, "stop", "wrong", "a grid", 0.5, "1 of 2 cells right", 0.5)
    score = score_of("run", "heldout", [stated, _sample("b", 0, "right"), partly], (1,), "transformers")
    assert (score.right, score.right_lenient) == (1, 2)
    assert (score.pass_at_1, score.pass_at_1_lenient) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_files_of_older_versions_are_read_without_lenient_scores(tmp_path) -> None:
    path = tmp_path / "samples.parquet"
    write_samples(path, [_sample("a", 0, "right")])
    pq.write_table(pq.read_table(path).drop_columns(["lenient"]), path)
    assert [row.lenient for row in read_samples(path)] == [None]
    pq.write_table(pq.read_table(path).drop_columns(["score"]), path)
    with pytest.raises(InputError, match=r"samples\.parquet: expected the columns .*; score is missing"):
        read_samples(path)


def test_score_refuses_problems_with_differing_numbers_of_samples() -> None:
    rows = [_sample("a", 0, "right"), _sample("a", 1, "wrong"), _sample("b", 0, "wrong")]
    with pytest.raises(ValueError, match="differ in their number of samples"):
        score_of("run", "heldout", rows, (1,), "transformers")


def test_samples_survive_writing_and_reading(tmp_path) -> None:
    rows = [_sample("a", 0, "right"), Sample("b", 1, "x=\\boxed{½}\n", 7, "length", "wrong", "½", 0.25, "odd")]
    write_samples(tmp_path / "samples.parquet", rows)
    assert read_samples(tmp_path / "samples.parquet") == rows
