"""The report stage on a made-up study: a page that needs nothing else, says what the fit found, and is written once."""

from __future__ import annotations

import html
import json
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pyarrow.parquet as pq
import pytest
from support import REPOSITORY
from support.report_study import make_finished_study

from tasks.grading import GradeRequest
from tasks.records.metrics import read_metrics
from tasks.records.run_state import run_state
from tasks.report.build import build_report
from tasks.report.format import percent
from tasks.report.format_gain import bootstrap_gains
from tasks.report.grading_check import draw, sampled_answers
from tasks.study.errors import InputError
from tasks.study.fingerprints import report_fingerprint
from tasks.study.grid import expand_grid
from tasks.study.manifests import is_complete, verify
from tasks.study.params import Params, load_params
from tasks.study.paths import StudyPaths

VOID = {"meta", "link", "br", "hr", "img", "input"}
GRID = {"sizes": ["3k", "25k", "99k"], "seeds": [0, 1], "reuse": {"size": "25k", "seed": 0, "factors": [2, 100]}}

pytestmark = pytest.mark.slow


class Reader(HTMLParser):
    """Collects addresses, text and unbalanced tags of a document."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.open: list[str] = []
        self.unbalanced: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href", "srcset"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    return reader


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Params:
    return make_finished_study(tmp_path_factory.mktemp("report"), GRID, steps=20)


@pytest.fixture(scope="module")
def folder(study: Params) -> Path:
    return build_report(study)


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "index.html").read_text(encoding="utf-8")


def test_page_loads_nothing_from_anywhere(page: str) -> None:
    addresses = read(page).addresses
    assert addresses
    assert all(address.startswith(("#", "data:")) for address in addresses)
    assert "@import" not in page
    assert page.count("<script>") == 1
    assert page.count("<script") == 2  # the other one is data


def test_page_is_balanced_markup(page: str) -> None:
    reader = read(page)
    assert reader.unbalanced == []
    assert reader.open == []


def test_page_lists_every_run_of_the_grid(study: Params, page: str) -> None:
    assert all(run.run_id in page for run in expand_grid(study))


def test_page_gives_every_finding_with_its_verdict_and_rule(study: Params, page: str) -> None:
    found = json.loads((StudyPaths.of(study).stage("fit") / "findings.json").read_text())["findings"]
    assert len(found) >= 10
    assert all(html.escape(finding["reason"]) in page for finding in found)
    pills = sum(page.count(f'class="pill {verdict}">') for verdict in ("supported", "contradicted", "undecided"))
    assert pills >= len(found)


def test_figures_follow_the_readers_colors(page: str) -> None:
    start = page.index("<main")
    assert "var(--step-0)" in page[start:]
    assert "#2563b0" not in page[start:]


def test_figures_lie_beside_the_page_as_valid_svg(folder: Path) -> None:
    names = {path.stem for path in (folder / "figures").glob("*.svg")}
    assert names == {"law_compute", "law_data", "learning", "variation", "plan", "reuse", "training", "scores"} | (
        names & {"forecasts"}
    )
    for path in (folder / "figures").glob("*.svg"):
        assert ElementTree.parse(path).getroot().tag.endswith("svg")


def test_finished_report_is_valid_work_with_intact_files(study: Params, folder: Path) -> None:
    assert is_complete(folder, report_fingerprint(study))
    assert verify(folder) == []


def test_report_written_again_has_equal_bytes(study: Params, folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    (folder / "manifest.json").unlink()
    build_report(study)
    assert {path: path.read_bytes() for path in before} == before


def test_report_of_an_unchanged_study_is_not_written_again(study: Params, folder: Path) -> None:
    before = (folder / "index.html").stat().st_mtime_ns
    build_report(study)
    assert (folder / "index.html").stat().st_mtime_ns == before


def test_summary_repeats_verdicts_laws_and_audit(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["runs"] == 16
    assert sum(summary["verdicts"].values()) == len(summary["claims"])
    assert {law["variant"] for law in summary["laws"]} == {"base", "instruct"}
    assert summary["audit"]["audited"] == 6
    assert summary["audit"]["right_lenient"] == 3
    assert summary["audit"]["disagreements"] == 1


def test_gain_that_is_format_is_told_by_variant_with_its_interval(study: Params, folder: Path) -> None:
    gains = json.loads((folder / "summary.json").read_text())["format"]
    assert [gain["variant"] for gain in gains] == ["base", "instruct"]
    for gain in gains:
        assert gain["strict"]["value"] == pytest.approx(1 / 6)
        assert gain["lenient"] == {"value": 0.0, "low": 0.0, "high": 0.0}
        assert gain["difference"] == gain["strict"]
    text = read((folder / "index.html").read_text(encoding="utf-8")).text
    assert "from the first to the last step the strict loss fell by 0.167" in text
    assert "k lenient, against compute" in text


def test_paired_draws_of_runs_and_problems_have_the_known_spread() -> None:
    rng = np.random.default_rng(5)
    gains = np.stack([rng.normal(0.3, 0.4, (6, 400)), np.zeros((6, 400))], axis=-1) + 0.1
    strict, lenient = bootstrap_gains(gains, ["3k"] * 6, np.random.default_rng(1), draws=4000)
    centered = gains[:, :, 0]
    by_problem, by_run = centered.mean(axis=0).var() / 400, centered.mean(axis=1).var() / 6
    assert strict.mean() == pytest.approx(centered.mean(), abs=0.003)
    assert strict.std() == pytest.approx(np.sqrt(by_problem + by_run + centered.var() / 2400), rel=0.1)
    np.testing.assert_allclose(lenient, 0.1)


def test_samples_of_older_versions_are_said_to_hold_one_score(tmp_path: Path) -> None:
    params = make_finished_study(tmp_path, {"sizes": ["3k", "7k"], "seeds": [0], "reuse": None}, steps=12, draws=20)
    for path in StudyPaths.of(params).stage("evaluate").rglob("samples.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["lenient"]), path)
    text = read((build_report(params) / "index.html").read_text(encoding="utf-8")).text
    assert "Part of the gain that is format: not measured, the samples of initial-3k-base hold no lenient score" in text


def test_audit_grades_every_distinct_answer_once(study: Params) -> None:
    answers = sampled_answers(study)
    assert len(answers) == 6
    assert sum(answers.values()) == 3
    assert {answer.data_source for answer in answers} == {"arithmetic"}


def test_audit_draws_as_many_right_answers_as_wrong_ones_while_both_last() -> None:
    answers = {GradeRequest("math", str(number), "1"): number < 10 for number in range(100)}
    assert sum(answers[answer] for answer in draw(answers, 10, seed=0)) == 5
    assert sum(answers[answer] for answer in draw(answers, 40, seed=0)) == 10
    assert len(draw(answers, 95, seed=0)) == 95
    assert len(set(draw(answers, 500, seed=0))) == 100


def test_audit_without_samples_is_said_on_the_page(tmp_path: Path) -> None:
    params = make_finished_study(tmp_path, {"sizes": ["3k", "7k"], "seeds": [0], "reuse": None}, steps=12, draws=20)
    for path in StudyPaths.of(params).stage("evaluate").rglob("samples.parquet"):
        path.unlink()
    text = read((build_report(params) / "index.html").read_text(encoding="utf-8")).text
    assert "nothing was audited" in text
    assert "The grid has no reuse axis." in text
    assert "Not tested: the grid has too few runs for it." in text


def test_title_with_markup_is_shown_as_text(study: Params) -> None:
    titled = study.report.model_copy(update={"title": "<script>alert(1)</script> & Co"})
    changed = study.model_copy(update={"report": titled})
    page = (build_report(changed) / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; Co" in page


@pytest.mark.parametrize(("stage", "advice"), [("fit", "rlscale fit"), ("evaluate", "rlscale evaluate")])
def test_unfinished_stage_is_named_with_the_command_that_helps(
    study: Params, tmp_path: Path, stage: str, advice: str
) -> None:
    shutil.copytree(study.root.parent, tmp_path / "copy", ignore=shutil.ignore_patterns("report"))
    params = load_params(tmp_path / "copy" / "params.yaml")
    (StudyPaths.of(params).stage(stage) / "manifest.json").unlink()
    with pytest.raises(InputError, match=advice):
        build_report(params)
    assert not StudyPaths.of(params).report.exists()


def test_report_needs_neither_torch_nor_prefect_nor_the_fit_stage() -> None:
    code = "import sys, tasks.report.build; print([m for m in sys.modules if m.split('.')[0] in {'torch', 'prefect', "
    code += "'mlflow', 'matplotlib'} or m.startswith(('tasks.fit.', 'tasks.train', 'tasks.evaluate'))])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_study_of_unequal_runs_says_so_and_shows_what_stopping_saved(tmp_path: Path, page: str) -> None:
    runs = [{"size": size, "variant": "base", "steps": 12, "seeds": [0, 1]} for size in ("3k", "25k")]
    grid = {"sizes": ["3k", "25k", "99k"], "variants": ["base"], "seeds": [0], "reuse": None, "runs": runs}
    stopping = {"rule": "dominated", "compare": ["size"]}
    params = make_finished_study(tmp_path, grid, steps=16, draws=20, stopping=stopping)
    text = read((build_report(params) / "index.html").read_text(encoding="utf-8")).text
    assert "1 to 2 seeds" in text
    assert "12 to 16 steps of" in text
    assert "1 of 5 runs were stopped" in text
    flops = [read_metrics(StudyPaths.of(params).metrics(run))[-1].flops_total for run in expand_grid(params)]
    assert percent(flops[0] / (flops[0] + sum(flops))) in text
    assert "0.0004 of loss a run" in text
    assert "Stopped runs" not in page
    assert run_state(params, expand_grid(params)[0]).progress == "stopped by forecast"
