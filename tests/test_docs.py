"""The data contract in docs/data.md is what the code writes; pages name only what the repository holds."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tasks.fit.data.points import COLUMNS
from tasks.prepare.checks import rejections
from tasks.records import findings, fits
from tasks.records.metrics import StepMetrics
from tasks.records.models import ModelRecord
from tasks.records.parquet import schema_of
from tasks.records.problems import problem_schema
from tasks.records.samples import Sample
from tasks.records.scores import Score
from tasks.records.stopping import StoppedRun

ROOT = Path(__file__).resolve().parents[1]
HEADING = re.compile(r"^### (.+)$", re.MULTILINE)
RECORDS = {
    "pretrain/manifest.json: models": ModelRecord,
    "train/<run id>/manifest.json: stopped": StoppedRun,
    "train/<run id>/metrics.jsonl": StepMetrics,
    "evaluate/<policy>/<benchmark>/samples.parquet": Sample,
    "evaluate/scores.parquet": Score,
    "Estimate": fits.Estimate,
    "SizeSlope": fits.SizeSlope,
    "Flag": fits.Flag,
    "fit/fits.json: fits": fits.FitRecord,
    "fit/backtests.json: backtests": fits.BackTest,
    "fit/backtests.json: windows": fits.WindowFit,
    "fit/backtests.json: saturation": fits.SaturationTest,
    "fit/backtests.json: choice": fits.LawChoice,
    "fit/forecasts.json: forecasts": fits.ForecastRecord,
    "fit/findings.json: findings": findings.Finding,
    "fit/findings.json: reuse": findings.ReuseEffect,
    "fit/findings.json: pairs": findings.PairEffect,
}


def tables() -> dict[str, dict[str, tuple[str, str]]]:
    """Of every heading of the page: name -> (type, meaning), in the page's order."""
    _, *parts = HEADING.split((ROOT / "docs" / "data.md").read_text())
    rows = re.compile(r"^\| `([^`]+)` \| (.+?) \| (.*) \|$", re.MULTILINE)
    return {
        name: {row[0]: (row[1], row[2]) for row in rows.findall(text.split("\n## ")[0])}
        for name, text in zip(parts[::2], parts[1::2], strict=True)
    }


TABLES = tables()


@pytest.mark.parametrize("heading", RECORDS)
def test_every_field_of_a_record_stands_in_the_page_with_its_type(heading: str) -> None:
    fields = {entry.name: str(entry.type) for entry in dataclasses.fields(RECORDS[heading])}
    shown = {name: kind.replace(" or null", " | None") for name, (kind, _) in TABLES[heading].items()}
    assert list(shown) == list(fields)
    for name, kind in fields.items():
        assert shown[name] == kind, name


def test_every_column_of_the_parquet_files_stands_in_the_page() -> None:
    assert {name: kind for name, (kind, _) in TABLES["fit/points.parquet"].items()} == COLUMNS
    assert list(TABLES["prepare/*.parquet"]) == problem_schema().names
    assert list(TABLES["evaluate/<policy>/<benchmark>/samples.parquet"]) == schema_of(Sample).names
    names = [entry.name for entry in dataclasses.fields(rejections.Rejection)]
    assert sorted(TABLES["prepare/rejected.parquet"]) == sorted(names)
    structs = {name: text for name, (_, text) in TABLES["prepare/*.parquet"].items()}
    for column in ("reward_model", "extra_info"):
        for entry in problem_schema().field(column).type:
            assert f"{entry.name}: " in structs[column], f"{column}.{entry.name}"


def test_every_entry_says_what_it_means() -> None:
    empty = [f"{heading}: {name}" for heading, rows in TABLES.items() for name, (_, text) in rows.items() if not text]
    assert empty == []
    assert all(TABLES[heading] for heading in RECORDS)


def pages() -> list[Path]:
    """Every text file of the repository that is not data."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    ends = (".md", ".py", ".toml", ".yaml", ".yml", ".cff", ".sbatch", "Makefile", "Dockerfile", "run", "planner")
    return [ROOT / name for name in listed.splitlines() if name.endswith(ends) and (ROOT / name).is_file()]


def test_links_of_the_pages_lead_to_files_of_the_repository() -> None:
    link = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
    for page in (path for path in pages() if path.suffix == ".md"):
        for target in link.findall(page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)}: {target}"


def test_no_page_names_a_markdown_page_that_is_not_in_the_repository() -> None:
    known = {path.name for path in pages() if path.suffix == ".md"}
    named = re.compile(r"\b([A-Za-z_]+\.md)\b")
    for page in pages():
        missing = set(named.findall(page.read_text())) - known
        assert not missing, f"{page.relative_to(ROOT)} names {', '.join(sorted(missing))}"


def test_the_version_is_the_same_wherever_it_stands() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == version
    assert f"## {version} " in (ROOT / "CHANGELOG.md").read_text()


def test_hooks_and_workflow_pin_what_they_run() -> None:
    lock = (ROOT / "requirements" / "test.lock").read_text().splitlines()
    (ruff,) = [line for line in lock if line.startswith("ruff==")]
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    pins = {hook["id"]: hook["additional_dependencies"] for hook in hooks}
    assert pins["ruff"] == pins["ruff-format"] == [ruff]
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert pins["codespell"][0] in workflow
    used = re.findall(r"uses: (\S+)", workflow)
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in used)
    for name in re.findall(r"requirements/\w+\.lock|\.ci/\w+", workflow):
        assert (ROOT / name).is_file(), name
