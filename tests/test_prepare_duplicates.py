"""Hashed text pieces, near-duplicates within a set, overlap with evaluation sets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import shared_folder
from support.problem_sets import SURE, write_problem_sets

from tasks.prepare.overlap.contamination import EvaluationEntry, EvaluationIndex, without_boilerplate
from tasks.prepare.overlap.duplicates import equal_texts, near_duplicates
from tasks.prepare.overlap.minhash import (
    lsh_bands,
    minhash_signatures,
    rows_per_band,
    shingle_set,
    similarity,
    word_ngrams,
)
from tasks.prepare.sources.normalize import OPERATORS, normalize

SENTENCE = "a train leaves the station at noon and travels north at a steady speed of 60 miles per hour until it stops"
words = st.lists(st.sampled_from(["alpha", "x", "12", "+", "beta", "7", "=", "最", "gamma"]), max_size=30)


@settings(deadline=None)
@given(st.lists(words, min_size=1, max_size=6), st.integers(1, 5))
def test_word_grams_are_the_runs_of_words_within_each_text(texts: list[list[str]], n: int) -> None:
    found = word_ngrams([" ".join(text) for text in texts], n)
    expected = []
    for row, text in enumerate(texts):
        kept = [word for word in text if word not in OPERATORS]
        for first in range(len(kept) - n + 1):
            gram = kept[first : first + n]
            expected.append((row, first, sum(not word.isdigit() and word != "x" for word in gram), tuple(gram)))
    assert [(row, first, count) for row, first, count, _ in expected] == list(
        zip(found.row.tolist(), found.first.tolist(), found.words.tolist(), strict=True)
    )
    hashes = {gram: value for (_, _, _, gram), value in zip(expected, found.hashes.tolist(), strict=True)}
    assert len(set(hashes.values())) == len(hashes)
    assert [hashes[gram] for _, _, _, gram in expected] == found.hashes.tolist()


def test_signatures_do_not_depend_on_the_batch_and_estimate_the_similarity() -> None:
    generator = np.random.default_rng(0)
    texts = [" ".join(f"{k:x}" for k in generator.integers(0, 10**6, 40)) for _ in range(300)]
    endings = [" ".join(f"{k:x}" for k in generator.integers(0, 10**6, 5)) for _ in range(300)]
    others = [" ".join([*text.split(" ")[:30], end]) for text, end in zip(texts, endings, strict=True)]
    assert (minhash_signatures(texts)[7] == minhash_signatures(texts[7:8])[0]).all()
    estimated = (minhash_signatures(texts) == minhash_signatures(others)).mean(axis=1)
    exact = np.array([similarity(shingle_set(a), shingle_set(b)) for a, b in zip(texts, others, strict=True)])
    assert np.abs(estimated - exact).mean() < 0.06
    assert abs((estimated - exact).mean()) < 0.01


def test_texts_shorter_than_a_piece_have_signatures_too() -> None:
    assert minhash_signatures(["", "a", "ab"]).shape == (3, 64)


@pytest.mark.parametrize("threshold", [0.55, 0.7, 0.8, 0.9, 0.95, 0.99])
def test_bands_miss_a_pair_at_the_threshold_at_most_once_in_a_thousand(threshold: float) -> None:
    width = rows_per_band(threshold)
    assert (1 - threshold**width) ** (64 // width) <= 1e-3


def found_duplicates(texts: list[str], answers: list[str], threshold: float = 0.9) -> list[tuple[int, int]]:
    banded = lsh_bands(minhash_signatures(texts), rows_per_band(threshold))
    found = near_duplicates(
        banded, lambda rows: ([texts[row] for row in rows], [answers[row] for row in rows]), threshold
    )
    return [(duplicate.row, duplicate.of) for duplicate in found]


def test_a_reworded_problem_is_a_duplicate_of_the_earlier_one() -> None:
    assert found_duplicates([SENTENCE, "other words here entirely", SENTENCE + " then"], ["1", "2", "1"]) == [(2, 0)]


def test_a_template_with_other_numbers_and_another_answer_is_another_problem() -> None:
    other = SENTENCE.replace("60", "65")
    assert similarity(shingle_set(SENTENCE), shingle_set(other)) > 0.9
    assert found_duplicates([SENTENCE, other], ["7", "8"]) == []
    assert found_duplicates([SENTENCE, other], ["7", "7"]) == [(1, 0)]


def test_nothing_is_a_duplicate_of_a_duplicate() -> None:
    texts = [SENTENCE, SENTENCE + " then", SENTENCE + " then it"]
    removed = {row for row, _ in found_duplicates(texts, ["1"] * 3, 0.85)}
    assert all(of not in removed for _, of in found_duplicates(texts, ["1"] * 3, 0.85))
    assert 0 not in removed


def test_equal_texts_keep_the_first() -> None:
    keys = np.array([5, 9, 5, 7, 9, 5], dtype=np.uint64)
    assert [(duplicate.row, duplicate.of) for duplicate in equal_texts(keys)] == [(2, 0), (4, 1), (5, 0)]


def overlap_of(text: str, evaluation: list[str], threshold: float = 0.7, n: int = 13) -> tuple[str, str] | None:
    entries = [EvaluationEntry("bench", str(number), normalize(other)) for number, other in enumerate(evaluation)]
    index = EvaluationIndex(entries, threshold, n)
    chosen = without_boilerplate([(0, index.find([normalize(text)])[0])])
    return (chosen[0].kind, chosen[0].entry.problem_id) if 0 in chosen else None


def test_an_evaluation_problem_with_other_formatting_is_an_exact_overlap() -> None:
    assert overlap_of("12. " + SENTENCE.upper() + "?", ["something else", SENTENCE]) == ("exact", "1")


def test_an_evaluation_problem_with_other_numbers_is_a_near_overlap() -> None:
    assert overlap_of(SENTENCE.replace("60", "75"), [SENTENCE]) == ("near", "0")


def test_an_evaluation_problem_inside_a_longer_text_is_found_by_its_words() -> None:
    longer = "Consider the following story told by a teacher to her pupils last week. " * 3 + SENTENCE
    assert overlap_of(longer, [SENTENCE]) == ("ngram", "0")
    assert overlap_of(longer, [SENTENCE], n=40) is None


def test_a_short_formula_in_common_is_no_overlap() -> None:
    assert (
        overlap_of("Solve a^2+b^2+c^2+d^2+e^2+f^2+g^2=1", ["Maximise a^2+b^2+c^2+d^2+e^2+f^2+g^2=1 over reals"]) is None
    )


def test_words_that_three_evaluation_problems_share_are_boilerplate() -> None:
    phrase = "where m and n are relatively prime positive integers find the value of m plus n"
    evaluation = [f"{k} {name} {phrase}" for k, name in enumerate(("circles", "boats", "cards"))]
    assert overlap_of(f"seven dwarfs {phrase}", evaluation[:1], threshold=0.99) == ("ngram", "0")
    assert overlap_of(f"seven dwarfs {phrase}", evaluation, threshold=0.99) is None


def test_words_that_three_training_problems_share_are_boilerplate_unless_they_are_copies() -> None:
    phrase = "where m and n are relatively prime positive integers find the value of m plus n"
    filler = "a long and quite different story about rivers mountains and seven travellers follows here number"
    index = EvaluationIndex([EvaluationEntry("bench", "0", normalize(f"two circles {phrase}"))], 0.99, 13)
    texts = [normalize(f"{filler} {name} {filler} {phrase}") for name in ("one", "two", "three")]
    assert without_boilerplate(enumerate(index.find(texts))) == {}
    copies = [normalize(f"two circles and {name} {phrase}") for name in ("lines", "squares", "points")]
    assert set(without_boilerplate(enumerate(index.find(copies)))) == {0, 1, 2}


def sure_overlaps(folder: Path) -> set[tuple[int, str, str]]:
    """Training row, evaluation set and its row of every overlap in a folder of sets that is at least 0.6 similar."""
    import pyarrow.parquet as pq

    from tasks.prepare.sources.instructions import bare_problem

    def texts(name: str) -> list[str]:
        rows = pq.read_table(folder / f"{name}.parquet").to_pylist()
        return [normalize(bare_problem(row["prompt"][0]["content"])) for row in rows]

    names = ("math__math_500", "amc2023", "math__full_difficulty_ordered_test_500")
    entries = [EvaluationEntry(name, str(place), text) for name in names for place, text in enumerate(texts(name))]
    found = without_boilerplate(enumerate(EvaluationIndex(entries, 0.7, 13).find(texts("math__sampled_1_50_1024"))))
    return {(row, o.entry.set, o.entry.problem_id) for row, o in found.items() if o.similarity >= 0.6}


def test_training_problems_that_repeat_evaluation_problems_are_found_in_the_published_layout(tmp_path: Path) -> None:
    write_problem_sets(tmp_path)
    assert sure_overlaps(tmp_path) == SURE


@pytest.mark.shared
def test_the_published_training_data_is_found_to_hold_benchmark_problems() -> None:
    sure = sure_overlaps(shared_folder("guru_math"))
    # Looked at one by one: eleven problems, five of them printed almost alike.
    assert sure == {
        (126, "amc2023", "13"),
        (472, "math__math_500", "150"),
        (738, "math__math_500", "352"),
        (505, "math__full_difficulty_ordered_test_500", "298"),
        (173, "math__full_difficulty_ordered_test_500", "209"),
        (947, "math__full_difficulty_ordered_test_500", "198"),
        (105, "math__full_difficulty_ordered_test_500", "9"),
        (163, "math__full_difficulty_ordered_test_500", "69"),
        (268, "math__full_difficulty_ordered_test_500", "69"),
        (541, "math__full_difficulty_ordered_test_500", "307"),
        (753, "math__full_difficulty_ordered_test_500", "468"),
    }
