"""Raw records of both layouts become rows, or are refused with a rule and a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import shared_folder
from support.problem_sets import REPAIRED, write_problem_sets

from tasks.prepare.sources.rows import Columns, RowRejected, read_row
from tasks.study.params import Cleaning, FileSource, Prepare

PREFIX = "You are a knowledgeable math assistant. Answer the following questions and think step by step."
SUFFIX = r"Please output the final answer within \boxed{}."
COLUMNS = Columns("qwen2.5_7b_pass_rate")


@pytest.fixture
def spec() -> Prepare:
    return Prepare(
        seed=0,
        source=FileSource(kind="file", path="train.parquet"),
        instruction=PREFIX,
        suffix=SUFFIX,
        heldout=4,
        easy_threshold=0.3,
        cleaning=Cleaning(),
    )


def published(**changes: Any) -> dict[str, Any]:
    return {
        "data_source": "math__math",
        "prompt": [{"role": "user", "content": f"{PREFIX} What is 2+2? {SUFFIX}"}],
        "ability": "math",
        "reward_model": {"ground_truth": "4", "style": "rule"},
        "extra_info": {"index": 3, "qwen2.5_7b_pass_rate": 0.25, "split": "train"},
    } | changes


def test_the_published_layout_keeps_its_prompt_and_gives_rate_and_answer(spec: Prepare) -> None:
    row = read_row(published(), spec, COLUMNS)
    assert row.problem.messages == (("user", f"{PREFIX} What is 2+2? {SUFFIX}"),)
    assert (row.problem.answer, row.problem.pass_rate, row.problem.data_source) == ("4", 0.25, "math__math")
    assert row.normalized == "what is 2 + 2"
    assert row.had_instruction
    assert not row.repaired


def test_the_plain_layout_gets_the_instructions(spec: Prepare) -> None:
    row = read_row({"problem": "What is 2+2?", "answer": 4, "pass_rate": 1}, spec, COLUMNS)
    assert row.problem.messages == (("user", f"{PREFIX} What is 2+2? {SUFFIX}"),)
    assert (row.problem.answer, row.problem.pass_rate, row.problem.data_source) == ("4", 1.0, "math")
    assert not row.had_instruction


def test_both_layouts_of_one_problem_have_one_id_suffix(spec: Prepare) -> None:
    one = read_row(published(), spec, COLUMNS).problem.problem_id.split("/")[1]
    other = read_row({"problem": "1. What is 2 + 2 ?", "answer": "4"}, spec, COLUMNS).problem.problem_id.split("/")[1]
    assert one == other


def test_doubled_backslashes_of_a_gold_are_repaired_unless_switched_off(spec: Prepare) -> None:
    raw = published(reward_model={"ground_truth": r"\\frac{1}{2}", "style": "rule"})
    assert read_row(raw, spec, COLUMNS).problem.answer == r"\frac{1}{2}"
    assert read_row(raw, spec, COLUMNS).repaired
    off = spec.model_copy(update={"cleaning": Cleaning(repair_backslashes=False)})
    assert read_row(raw, off, COLUMNS).problem.answer == r"\\frac{1}{2}"


def test_a_message_list_printed_as_python_text_is_unwrapped(spec: Prepare) -> None:
    inner = [{"content": "Write f so that\n>>> f('a')\n\"b\"", "role": "user"}]
    row = read_row(published(prompt=[{"content": str(inner), "role": "user"}], ability="codegen"), spec, COLUMNS)
    assert row.problem.messages == (("user", inner[0]["content"]),)


def test_a_structured_ground_truth_is_stored_as_json(spec: Prepare) -> None:
    truth = {"header": ["House", "Pet"], "rows": [["1", "cat"]]}
    raw = published(reward_model={"ground_truth": truth, "style": "rule"}, ability="logic")
    assert json.loads(read_row(raw, spec, COLUMNS).problem.answer) == truth


def test_other_abilities_keep_their_prompts_untouched(spec: Prepare) -> None:
    raw = published(prompt=[{"role": "user", "content": r"Solve the puzzle \\frac"}], ability="logic")
    assert read_row(raw, spec, COLUMNS).problem.messages == (("user", r"Solve the puzzle \\frac"),)


@pytest.mark.parametrize(
    ("raw", "rule", "detail"),
    [
        ({}, "schema", "no column problem"),
        ({"problem": "What?", "answer": None}, "empty", "answer is empty"),
        ({"problem": "What?", "answer": "  "}, "empty", "answer is empty"),
        ({"problem": "", "answer": "4"}, "empty", "problem is empty"),
        ({"problem": "?!", "answer": "4", "pass_rate": 2}, "schema", "pass_rate is 2"),
        ({"problem": "What?", "answer": "4", "pass_rate": "often"}, "schema", "pass_rate is 'often'"),
        ({"problem": 7, "answer": "4"}, "schema", "problem is not a text but int"),
        ({"problem": "What?", "answer": True}, "schema", "answer is not a text but bool"),
        ({"problem": "What\x00?", "answer": "4"}, "schema", "NUL"),
        ({"problem": "What \ud800?", "answer": "4"}, "schema", "surrogate"),
        ({"problem": "$$ $$", "answer": "4"}, "empty", "no text"),
        (published(prompt=[]), "schema", "no user message"),
        (published(prompt=7), "schema", "neither a text nor a list"),
        (published(prompt=[{"role": "user", "content": None}]), "empty", "prompt is empty"),
        (published(prompt=[{"role": "system", "content": "hello"}]), "schema", "no user message"),
        (published(reward_model=None), "schema", "reward_model is not a struct"),
        (published(data_source=None), "empty", "data_source is empty"),
    ],
)
def test_broken_records_are_refused_with_rule_and_reason(
    raw: dict[str, Any], rule: str, detail: str, spec: Prepare
) -> None:
    with pytest.raises(RowRejected) as refusal:
        read_row(raw, spec, COLUMNS)
    assert refusal.value.rule == rule
    assert detail in refusal.value.detail


def test_a_missing_or_nan_pass_rate_is_unknown(spec: Prepare) -> None:
    for value in (None, float("nan")):
        assert (
            read_row({"problem": "What?", "answer": "4", "pass_rate": value}, spec, COLUMNS).problem.pass_rate is None
        )


def read_all(folder: Path, spec: Prepare) -> dict[str, int]:
    """Reads every row of the sets of a folder; returns how many answers of each were repaired."""
    import pyarrow.parquet as pq

    repaired = {}
    for path in sorted(folder.glob("*.parquet")):
        rows = [read_row(raw, spec, COLUMNS) for raw in pq.read_table(path).to_pylist()]
        repaired[path.stem] = sum(row.repaired for row in rows)
        assert all("\\\\frac" not in row.problem.answer for row in rows)
        if path.stem.startswith("math__sampled"):
            assert all(row.had_instruction and row.problem.pass_rate is not None for row in rows)
    return repaired


@pytest.mark.shared
def test_every_row_of_the_published_files_is_readable(spec: Prepare) -> None:
    repaired = read_all(shared_folder("guru_math"), spec)
    assert repaired["math__sampled_1_50_1024"] == 113
    assert repaired["math__math_500"] == 0


def test_every_row_in_the_published_layout_is_readable(spec: Prepare, tmp_path: Path) -> None:
    write_problem_sets(tmp_path)
    repaired = read_all(tmp_path, spec)
    assert len(repaired) == 10
    assert repaired["math__sampled_1_50_1024"] == REPAIRED
    assert repaired["math__math_500"] == 0
