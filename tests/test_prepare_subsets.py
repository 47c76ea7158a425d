"""Curriculum, subsampling, held-out split and nested reuse subsets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.prepare.splits.curriculum import curriculum, split_heldout, strata, subsample_evenly
from tasks.prepare.splits.subsets import nested_subsets
from tasks.study.errors import InputError


@st.composite
def studies(draw: st.DrawFn) -> tuple[np.ndarray, list[int]]:
    """Strata sizes of any shape, and factors that divide the number of rows."""
    taus = sorted(set(draw(st.lists(st.sampled_from([2, 3, 4, 5, 10, 20, 25, 50]), min_size=1, max_size=5))))
    weights = draw(st.lists(st.integers(1, 60), min_size=1, max_size=25))
    unit = math.lcm(*taus)
    total = unit * draw(st.integers(1, max(1, 1200 // unit)))
    bounds = np.round(np.cumsum(weights) / sum(weights) * total).astype(int)
    return np.searchsorted(bounds, np.arange(total), side="right"), taus


@settings(deadline=None, max_examples=60)
@given(studies(), st.integers(0, 5))
def test_subsets_are_nested_exact_and_keep_every_stratum_within_one_row(
    study: tuple[np.ndarray, list[int]], seed: int
) -> None:
    member, taus = study
    subsets = nested_subsets(member, taus, seed)
    sizes = np.bincount(member)
    larger = set(range(len(member)))
    for tau in taus:
        rows = subsets[tau]
        assert len(rows) == len(set(rows)) == len(member) // tau
        assert rows == sorted(rows), "rows are in curriculum order"
        assert set(rows) <= larger
        assert np.abs(np.bincount(member[rows], minlength=len(sizes)) - sizes / tau).max() < 1
        larger = set(rows)


@settings(deadline=None, max_examples=40)
@given(studies())
def test_subsets_keep_the_share_beyond_every_difficulty_within_one_row(study: tuple[np.ndarray, list[int]]) -> None:
    member, taus = study
    sizes = np.bincount(member)
    for tau, rows in nested_subsets(member, taus, 0).items():
        counts = np.bincount(member[rows], minlength=len(sizes))
        assert np.abs(np.cumsum(counts) - np.cumsum(sizes) / tau).max() <= 1


def test_factors_that_do_not_divide_each_other_still_nest() -> None:
    subsets = nested_subsets(np.repeat(np.arange(10), 10), [2, 5], 0)
    assert set(subsets[5]) < set(subsets[2])
    assert (len(subsets[2]), len(subsets[5])) == (50, 20)


def test_no_factors_give_no_subsets() -> None:
    assert nested_subsets(np.zeros(10, dtype=np.int64), [], 0) == {}


def test_the_curriculum_goes_from_easy_to_hard_with_unknown_rates_last() -> None:
    rates = np.array([0.0, np.nan, 1.0, 0.5, np.nan])
    assert rates[curriculum(rates, np.full(5, -1), 0)][:3].tolist() == [1.0, 0.5, 0.0]
    assert np.isnan(rates[curriculum(rates, np.full(5, -1), 0)][3:]).all()


def test_ties_of_the_curriculum_are_shuffled_by_the_seed() -> None:
    rates, levels = np.full(50, 0.5), np.full(50, -1)
    assert curriculum(rates, levels, 0).tolist() == curriculum(rates, levels, 0).tolist()
    assert curriculum(rates, levels, 0).tolist() != curriculum(rates, levels, 1).tolist()


def test_strata_are_single_rates_where_there_are_few_and_bins_where_there_are_many() -> None:
    few = np.array([0.0, 0.25, 0.25, np.nan])
    assert len(set(strata(few, np.full(4, -1)).tolist())) == 3
    many = np.linspace(0, 1, 500)
    assert len(set(strata(many, np.full(500, -1)).tolist())) == 33


@settings(deadline=None)
@given(st.integers(1, 300), st.data())
def test_subsampling_keeps_the_fraction_of_every_stretch_within_one_row(size: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(1, size))
    low = data.draw(st.integers(0, size - 1))
    high = data.draw(st.integers(low, size))
    kept = subsample_evenly(np.arange(size), count)
    assert len(set(kept.tolist())) == count
    assert abs(np.sum((kept >= low) & (kept < high)) - (high - low) * count / size) <= 1


@settings(deadline=None)
@given(st.lists(st.one_of(st.just(math.nan), st.floats(0, 1)), min_size=20, max_size=80), st.integers(0, 9))
def test_the_heldout_split_is_half_easy_half_hard_and_seeded(rates: list[float], seed: int) -> None:
    array, lengths = np.array(rates), np.arange(len(rates))
    assume(not np.isnan(array).all())
    easy = int((array >= 0.3).sum())
    if min(easy, len(rates) - easy) < 4:
        with pytest.raises(InputError, match="problems wanted"):
            split_heldout(array, lengths, 8, 0.3, seed)
        return
    rows = split_heldout(array, lengths, 8, 0.3, seed)
    assert len(set(rows.tolist())) == 8
    assert int((array[rows] >= 0.3).sum()) == 4
    assert rows.tolist() == split_heldout(array, lengths, 8, 0.3, seed).tolist()


@given(st.integers(12, 200), st.integers(0, 3))
def test_without_pass_rates_every_stretch_of_lengths_gives_its_share(size: int, seed: int) -> None:
    array, count = np.random.default_rng(seed).permutation(size), size // 3
    rows = split_heldout(np.full(size, np.nan), array, count, 0.3, seed)
    assert len(set(rows.tolist())) == count
    for threshold in (size // 4, size // 2, size - 3):  # a stretch that ends within a bin may miss that bin's share
        assert abs(int((array[rows] < threshold).sum()) - threshold * count / size) <= count / 10 + 2
    with pytest.raises(InputError, match="problems wanted, but the source has"):
        split_heldout(np.full(size, np.nan), array, size, 0.3, seed)
