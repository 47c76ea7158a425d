"""Sentences, numbers and curves of the report, piece by piece."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.report_study import make_finished_study

from tasks.records.findings import Finding
from tasks.records.fits import Estimate, FitOptions, FitRecord, SizeSlope
from tasks.records.statistics import wilson_interval
from tasks.report.format import change, compact, interval
from tasks.report.html import Cell, Html, table, tag
from tasks.report.inputs import read_results, running_mean
from tasks.report.sections import runs
from tasks.report.sections.law import binned
from tasks.report.style import color, sequential_colors
from tasks.report.svg import inline, on_white, panels, svg_of
from tasks.report.text import effect_text, headline, plain_sentences, sentence, slope_text
from tasks.study.grid import expand_grid


def finding(
    verdict: str,
    key: str = "k_grows_compute",
    variant: str = "base",
    effect: Estimate = Estimate(-0.02, -0.03, -0.01),  # noqa: B008
) -> Finding:
    return Finding(3, key, "k grows", variant, "compute", effect, "log10 L per size step", verdict, "its rule")


def test_claim_that_every_test_supports_is_called_shown() -> None:
    assert sentence([finding("supported"), finding("supported")]) == "This study shows it too, in all 2 tests."


def test_claim_that_every_test_contradicts_is_called_not_shown() -> None:
    assert "does not show what the paper found" in sentence([finding("contradicted")])


def test_claim_that_no_test_decides_is_called_open() -> None:
    assert sentence([finding("undecided"), finding("undecided")]).startswith("This study cannot tell")


def test_one_contradiction_among_many_is_named_with_what_it_was_tested_on() -> None:
    text = sentence([finding("supported"), finding("contradicted", variant="instruct"), finding("undecided")])
    assert text.startswith("This study does not show what the paper found throughout.")
    assert "contradicted for k grows (instruct, compute)" in text
    assert "undecided for k grows (base, compute)" in text


def test_claim_without_findings_is_called_not_tested() -> None:
    assert sentence([]).startswith("Not tested")


def test_a_study_is_five_sentences_the_headline_first_and_each_claim_with_its_answer() -> None:
    lines = plain_sentences([finding("supported"), finding("undecided")])
    assert len(lines) == 5
    assert lines[0].startswith("Of 2 tests")
    assert lines[3].startswith(
        "Learning efficiency k(N) grows with model size, and its growth saturates: supported in 1"
    )
    assert lines[1].endswith("not tested: the grid has too few runs for it.")


def test_headline_counts_all_three_verdicts() -> None:
    text = headline([finding("supported"), finding("contradicted"), finding("undecided"), finding("undecided")])
    assert text == "Of 4 tests of the published claims, 1 support them, 1 contradict them and 2 cannot decide."


def test_effect_in_log_loss_reads_as_a_change_in_per_cent() -> None:
    assert effect_text(finding("supported")) == "−4.5\u00a0%\u00a0[−6.7\u00a0%,\u00a0−2.3\u00a0%]"


def test_fit_under_which_loss_rises_is_not_called_learning() -> None:
    def fit(k: float) -> FitRecord:
        slope = Estimate(k, k - 0.01, k + 0.01)
        options = FitOptions("log", 0, False, 100, 0, "auto", ["runs"])
        by_size = [SizeSlope(1e3, "1k", slope, slope, None, 3, 60)]
        return FitRecord("base", "compute", "saturating", "log L = ...", True, 60, 3, {}, {}, by_size, 0.9, 0.9, 0.01,
                         None, None, [], options)  # fmt: skip

    assert "Loss rises" in slope_text(fit(-0.05))
    assert "Loss rises" not in slope_text(fit(0.05))
    assert "by −10.9" in slope_text(fit(0.05))


def test_effect_that_was_not_measured_says_so() -> None:
    assert effect_text(finding("undecided", effect=Estimate(None))) == "not measured"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0123456, "0.0123"),
        (57022.8, "57\u202f000"),
        (-0.5, "−0.500"),
        (1.378e10, "1.38e10"),
        (2e-5, "2.00e−5"),
        (None, "–"),
        (float("nan"), "–"),
        (0, "0"),
        (999.6, "1000"),
    ],
)
def test_numbers_have_three_significant_digits(value: float | None, text: str) -> None:
    assert compact(value) == text


def test_interval_without_bounds_is_the_value_alone() -> None:
    assert interval(Estimate(0.5)) == "0.500"


def test_ratio_reads_as_a_signed_change() -> None:
    assert change(1.036) == "+3.6\u00a0%"


def test_losses_of_runs_have_the_wilson_interval_of_their_answers(tmp_path: Path) -> None:
    params = make_finished_study(tmp_path, {"sizes": ["3k", "7k"], "seeds": [0], "reuse": None}, steps=12, draws=20)
    results = read_results(params)
    body = runs.build(results).body
    assert len(results.runs) == len(expand_grid(params))
    for log in results.runs:
        last = log.rows[-1]
        assert last.test_right is not None
        assert last.test_trials is not None
        low, high = wilson_interval(last.test_right / last.test_trials, last.test_trials)
        assert f"{last.test_loss:.3f}\u00a0[{1 - high:.3f},\u00a0{1 - low:.3f}]" in body


def test_text_in_tables_is_escaped_and_markup_is_kept() -> None:
    shown = table(["a"], [["<b>"], [Html("<i>x</i>")], [Cell("1 000", 1000.0)]])
    assert "&lt;b&gt;" in shown
    assert "<i>x</i>" in shown
    assert '<td data-order="1000">1 000</td>' in shown


def test_attributes_are_escaped() -> None:
    assert tag("a", "x", href='"><script>') == '<a href="&quot;&gt;&lt;script&gt;">x</a>'


def test_dots_keep_the_number_weighted_mean_of_the_points() -> None:
    rng = np.random.default_rng(0)
    x, loss = np.exp(rng.uniform(0, 5, 400)), rng.uniform(0.1, 0.9, 400)
    centers, means = binned(x, loss)
    assert len(centers) == len(means) == 22
    assert np.all(np.diff(centers) > 0)
    assert loss.min() <= means.min() <= means.max() <= loss.max()


def test_dots_of_one_point_are_that_point() -> None:
    centers, means = binned(np.array([64.0]), np.array([0.5]))
    assert centers == pytest.approx([64.0])
    assert means == pytest.approx([0.5])


def test_running_mean_keeps_a_straight_line_and_both_ends() -> None:
    line = np.linspace(1.0, 3.0, 11)
    assert running_mean(line) == pytest.approx(line)
    assert running_mean(np.array([4.0])) == pytest.approx([4.0])


def test_sizes_get_different_colors_from_first_to_last() -> None:
    colors = sequential_colors(7)
    assert len(set(colors)) == 7
    assert (colors[0], colors[-1]) == (sequential_colors(2)[0], sequential_colors(2)[1])


def test_drawn_colors_become_variables_inside_the_page_only() -> None:
    with panels("probe", 1, 1, (2, 2)) as (figure, axes):
        axes[0, 0].plot([1, 2], [1, 2], color=color("base"))
        svg = svg_of(figure)
    assert color("base") in on_white(svg)
    assert color("base") not in inline(svg)
    assert "var(--base)" in inline(svg)
    assert "var(--font)" in inline(svg)
