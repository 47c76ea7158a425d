"""The stage on generated problems and on files: what it writes, what it lists, when it works again."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from tasks.evaluate.generate import sampling_settings
from tasks.prepare.describe import description, tables
from tasks.prepare.prepare import prepare
from tasks.prepare.sources.normalize import normalize
from tasks.records.problems import Problem, read_problems
from tasks.study.errors import InputError
from tasks.study.fingerprints import evaluate_fingerprint, prepare_fingerprint
from tasks.study.manifests import digest_file, manifest_digest
from tasks.study.params import Params, load_params
from tasks.study.paths import StudyPaths
from tasks.study.policies import list_policies

Study = Callable[..., Params]
PREFIX = "You are a knowledgeable math assistant. Answer the following questions and think step by step."
SUFFIX = r"Please output the final answer within \boxed{}."


@pytest.fixture
def study(tmp_path: Path, repository: Path) -> Study:
    """Makes a small study from the miniature's params, with changes to its prepare block."""

    def make(steps: int = 4, **changes: Any) -> Params:
        raw = yaml.safe_load((repository / "params.yaml").read_text())
        raw["study"]["data_root"] = "data"
        raw["train"] |= {"steps": steps, "batch": 40, "minibatch": 20}
        raw["train"]["sampling"]["max_prompt_tokens"] = 200
        raw["grid"]["reuse"]["factors"] = [2, 5, 10]
        raw["prepare"] |= {"heldout": 20} | changes
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(raw))
        return load_params(path)

    return make


def texts(problems: list[Problem]) -> set[str]:
    return {normalize(problem.messages[-1][1]) for problem in problems}


def words(number: int) -> str:
    """Twelve words that no other number gets, so that problems of these tests are unlike each other."""
    return " ".join("".join(chr(97 + (number * 7919 + k * 104729) // 26**j % 26) for j in range(6)) for k in range(12))


def plain_rows(count: int) -> list[dict[str, Any]]:
    rates = [None, 0.0, 0.125, 0.25, 0.375, 0.5, 0.75]
    return [
        {"problem": f"{words(n)} what is {n} plus {n}?", "answer": str(2 * n), "pass_rate": rates[n % 7]}
        for n in range(count)
    ]


def write_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_miniature_sets_are_disjoint_ordered_and_nested(study: Study) -> None:
    params = study()
    manifest = prepare(params)
    layout = StudyPaths.of(params)
    train, heldout = read_problems(layout.train_problems), read_problems(layout.heldout)
    hard = read_problems(layout.benchmark("arithmetic_hard"))
    assert (len(train), len(heldout), len(hard)) == (160, 20, params.prepare.benchmarks[0].problems)
    assert not texts(train) & texts(heldout)
    assert not texts(train + heldout) & texts(hard)
    assert len({problem.problem_id for problem in train + heldout + hard}) == len(train + heldout + hard)
    rates = [problem.pass_rate for problem in train]
    assert rates == sorted(rates, key=lambda rate: -(rate or 0))
    assert sum((problem.pass_rate or 0) >= params.prepare.easy_threshold for problem in heldout) == 10
    larger = {problem.problem_id for problem in train}
    for tau in (2, 5, 10):
        subset = read_problems(layout.subset(tau))
        names = [problem.problem_id for problem in subset]
        assert len(names) == 160 // tau
        assert set(names) <= larger
        assert names == [p.problem_id for p in train if p.problem_id in set(names)]
        for field in ("pass_rate", "level"):
            whole, part = (Counter(getattr(p, field) for p in group) for group in (train, subset))
            assert all(abs(part[value] - count / tau) <= 1 for value, count in whole.items())
        larger = set(names)
    assert manifest["counts"]["train"] == 160


def test_every_answer_of_the_miniature_is_right(study: Study) -> None:
    params = study()
    prepare(params)
    for problem in read_problems(StudyPaths.of(params).train_problems):
        assert eval(problem.messages[0][1].rstrip("=")) == int(problem.answer)


def test_the_written_files_have_the_published_layout(study: Study) -> None:
    params = study()
    prepare(params)
    table = pq.read_table(StudyPaths.of(params).train_problems)
    assert table.column_names == ["data_source", "prompt", "ability", "reward_model", "extra_info"]
    row = table.to_pylist()[5]
    assert row["extra_info"]["index"] == 5
    assert row["extra_info"]["split"] == "train"
    assert row["reward_model"]["style"] == "rule"


def test_a_second_run_does_nothing_and_a_fresh_one_writes_the_same_bytes(study: Study, tmp_path: Path) -> None:
    params = study()
    first = prepare(params)
    folder = StudyPaths.of(params).stage("prepare")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    assert prepare(params) == first
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")} == before
    elsewhere = params.model_copy(update={"study": params.study.model_copy(update={"data_root": str(tmp_path / "b")})})
    assert prepare(elsewhere) == first
    assert not list(folder.glob(".scratch*"))


def test_another_seed_draws_other_problems(study: Study) -> None:
    params = study()
    prepare(params)
    first = texts(read_problems(StudyPaths.of(params).heldout))
    again = study(seed=1)
    prepare(again)
    assert texts(read_problems(StudyPaths.of(again).heldout)) != first


def test_a_smaller_grid_leaves_no_subset_of_the_larger_one_behind(study: Study) -> None:
    params = study()
    prepare(params)
    factors = params.grid.reuse.model_copy(update={"factors": (2,)})  # type: ignore[union-attr]
    smaller = params.model_copy(update={"grid": params.grid.model_copy(update={"reuse": factors})})
    prepare(smaller)
    assert [path.name for path in StudyPaths.of(params).subset(2).parent.iterdir()] == ["tau_2.parquet"]


def file_study(study: Study, path: Path, steps: int = 4, **changes: Any) -> Params:
    block = {"source": {"kind": "file", "path": str(path)}, "benchmarks": [], "instruction": PREFIX, "suffix": SUFFIX}
    block["cleaning"] = {"near_duplicate_similarity": 0.9}
    return study(steps, **(block | changes))


@pytest.mark.slow
def test_a_plain_file_is_cleaned_split_and_every_rejected_row_is_listed(study: Study, tmp_path: Path) -> None:
    rows = plain_rows(200)
    rows[3] = {"problem": "", "answer": "1"}
    rows[4] = {"question": "What?", "answer": "1"}
    rows[5] = rows[0] | {"problem": "12. " + rows[0]["problem"].upper()}
    rows[6] = rows[1] | {"problem": rows[1]["problem"] + " now"}
    rows[7]["answer"] = r"\frac{1}{"
    path = write_jsonl(tmp_path / "set.jsonl", rows)
    path.write_text(path.read_text() + "not json\n")
    params = file_study(study, path)
    manifest = prepare(params)
    listed = pq.read_table(StudyPaths.of(params).stage("prepare") / "rejected.parquet").to_pylist()
    by_row = {entry["row"]: entry["rule"] for entry in listed if entry["rule"] != "surplus"}
    assert by_row == {
        3: "empty",
        4: "schema",
        5: "duplicate",
        6: "near-duplicate",
        7: "answer",
        200: "schema",
    }
    assert all(entry["detail"] for entry in listed if entry["rule"] != "surplus")
    kept = manifest["counts"]["train"] + params.prepare.heldout
    assert kept + sum(manifest["counts"]["rejected"].values()) == manifest["counts"]["read"] == 201


def test_unknown_pass_rates_are_hardest_and_rates_reach_the_files(study: Study, tmp_path: Path) -> None:
    params = file_study(study, write_jsonl(tmp_path / "set.jsonl", plain_rows(200)))
    prepare(params)
    rates = [problem.pass_rate for problem in read_problems(StudyPaths.of(params).train_problems)]
    known = [rate for rate in rates if rate is not None]
    assert known == sorted(known, reverse=True)
    assert rates[len(known) :] == [None] * (len(rates) - len(known))
    assert None in rates


def test_prompts_get_the_instructions_once(study: Study, tmp_path: Path) -> None:
    rows = plain_rows(200)
    rows[0]["problem"] = f"{PREFIX} {rows[0]['problem']} {SUFFIX}"
    params = file_study(study, write_jsonl(tmp_path / "set.jsonl", rows))
    prepare(params)
    for problem in read_problems(StudyPaths.of(params).train_problems):
        assert problem.messages[0][1].count(PREFIX) == problem.messages[0][1].count("\\boxed") == 1


def published_table(rows: list[dict[str, Any]]) -> pa.Table:
    records = [
        {
            "data_source": "math__made",
            "prompt": [{"role": "user", "content": f"{PREFIX} {row['problem']} {SUFFIX}"}],
            "ability": "math",
            "reward_model": {"ground_truth": row["answer"], "style": "rule"},
            "extra_info": {"qwen2.5_7b_pass_rate": row["pass_rate"]},
        }
        for row in rows
    ]
    return pa.Table.from_pylist(records)


def test_training_rows_that_overlap_a_benchmark_or_the_given_heldout_set_are_removed(
    study: Study, tmp_path: Path
) -> None:
    rows = plain_rows(240)
    story = "the following long story about seven travellers crossing wide rivers in small wooden boats at night"
    bench = [rows[10], {"problem": f"Read {story}. How many?", "answer": "3", "pass_rate": None}]
    rows[11] = {"problem": f"{words(900)} {words(901)}. {story} {words(902)}?", "answer": "9", "pass_rate": 0.5}
    pq.write_table(published_table(rows), tmp_path / "train.parquet")
    pq.write_table(published_table(rows[20:40]), tmp_path / "heldout.parquet")
    pq.write_table(published_table(bench), tmp_path / "bench.parquet")
    source = {
        "kind": "file",
        "path": str(tmp_path / "train.parquet"),
        "heldout_path": str(tmp_path / "heldout.parquet"),
    }
    benchmarks = [{"name": "bench", "source": "file", "path": str(tmp_path / "bench.parquet")}]
    params = file_study(study, tmp_path, source=source, benchmarks=benchmarks)
    manifest = prepare(params)
    listed = pq.read_table(StudyPaths.of(params).stage("prepare") / "rejected.parquet").to_pylist()
    found = {entry["row"]: entry["evaluation_set"] for entry in listed if entry["rule"] == "contaminated"}
    assert found == {10: "bench", 11: "bench"} | dict.fromkeys(range(20, 40), "heldout")
    assert manifest["overlap"]["training"] == {"bench": {"exact": 1, "ngram": 1}, "heldout": {"exact": 20}}
    layout = StudyPaths.of(params)
    assert not texts(read_problems(layout.train_problems)) & texts(read_problems(layout.heldout))
    assert [p.problem_id.split("/")[0] for p in read_problems(layout.benchmark("bench"))] == ["bench", "bench"]


def test_training_rows_like_a_heldout_row_that_was_split_off_are_removed(study: Study, tmp_path: Path) -> None:
    rows = plain_rows(100)
    twins = [row | {"problem": row["problem"].replace("plus", "added to"), "answer": "5"} for row in rows]
    for number, twin in enumerate(twins):
        twin["problem"] += f" take {number} away"
    cleaning = {"near_duplicate_similarity": 0.95, "decontaminate_similarity": 0.6}
    params = file_study(study, write_jsonl(tmp_path / "set.jsonl", rows + twins), cleaning=cleaning)
    manifest = prepare(params)
    assert manifest["counts"]["rejected"]["contaminated"] == params.prepare.heldout == 20
    assert set(manifest["overlap"]["training"]["heldout"]) == {"near"}


def test_a_source_that_is_too_small_says_how_many_steps_it_allows(study: Study, tmp_path: Path) -> None:
    params = file_study(study, write_jsonl(tmp_path / "set.jsonl", plain_rows(150)))
    with pytest.raises(InputError, match=r"160 training problems wanted, but 130 are left .* lower train.steps to 3"):
        prepare(params)
    assert not (StudyPaths.of(params).stage("prepare") / "manifest.json").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.parquet", None, "absent.parquet: no such file"),
        ("set.txt", b"hello", "expected a name that ends in"),
        ("set.parquet", b"hello", "not a readable parquet file"),
    ],
)
def test_unusable_source_files_are_named(
    name: str, content: bytes | None, message: str, study: Study, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=message):
        prepare(file_study(study, tmp_path / name))


def test_an_unreadable_evaluation_row_is_an_error_and_not_left_out(study: Study, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "set.jsonl", plain_rows(200))
    write_jsonl(tmp_path / "bench.jsonl", [{"problem": "What?", "answer": "1"}, {"problem": "Why?"}])
    benchmarks = [{"name": "bench", "source": "file", "path": str(tmp_path / "bench.jsonl")}]
    with pytest.raises(InputError, match=r"bench.jsonl: row 1 of evaluation set bench: empty: answer is empty"):
        prepare(file_study(study, path, benchmarks=benchmarks))


def test_a_missing_benchmark_file_says_where_it_can_be_had(study: Study, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "set.jsonl", plain_rows(200))
    benchmarks = [{"name": "bench", "source": "file", "path": "nowhere.parquet", "origin": "the authors"}]
    with pytest.raises(InputError, match=r"nowhere.parquet: no such file.*fetch it from the authors and put it there"):
        prepare(file_study(study, path, benchmarks=benchmarks))


def test_a_changed_source_file_changes_the_mark_and_the_content_digest(study: Study, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "set.jsonl", plain_rows(200))
    params = file_study(study, path)
    prepare(params)
    fingerprint, content = prepare_fingerprint(params), manifest_digest(StudyPaths.of(params).stage("prepare"))
    write_jsonl(path, plain_rows(201)[1:])
    assert prepare_fingerprint(params) != fingerprint
    prepare(params)
    assert manifest_digest(StudyPaths.of(params).stage("prepare")) != content


def test_a_change_that_alters_no_problem_changes_nothing_downstream(study: Study) -> None:
    params = study()
    prepare(params)
    content = manifest_digest(StudyPaths.of(params).stage("prepare"))
    longer = params.train.sampling.model_copy(update={"max_prompt_tokens": 201})
    other = params.model_copy(update={"train": params.train.model_copy(update={"sampling": longer})})
    assert prepare_fingerprint(other) != prepare_fingerprint(params)
    prepare(other)
    assert manifest_digest(StudyPaths.of(params).stage("prepare")) == content


def test_how_a_benchmark_is_sampled_is_no_matter_of_prepare(study: Study, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "set.jsonl", plain_rows(200))
    bench = {
        "name": "bench",
        "source": "file",
        "path": str(write_jsonl(tmp_path / "bench.jsonl", plain_rows(210)[200:])),
    }
    marks = []
    for settings in ({}, {"samples": 4, "temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 7}):
        params = file_study(study, path, benchmarks=[bench | settings])
        prepare(params)
        marks.append((prepare_fingerprint(params), evaluate_fingerprint(params, list_policies(params)[0], "bench")))
        found = sampling_settings(params, "bench")
    assert marks[0][0] == marks[1][0]
    assert marks[0][1] != marks[1][1]
    assert (found.n, found.temperature, found.top_p, found.max_tokens) == (4, 0.5, 0.9, 7)


def test_the_description_shows_counts_reasons_difficulty_lengths_and_overlap(study: Study, tmp_path: Path) -> None:
    rows = plain_rows(200)
    rows[3]["answer"] = ""
    params = file_study(study, write_jsonl(tmp_path / "set.jsonl", rows))
    with pytest.raises(InputError, match="run `rlscale prepare` first"):
        description(params)
    prepare(params)
    facts = description(params)
    assert facts["counts"]["read"] == 200
    assert facts["counts"]["rejected"]["empty"] == 1
    assert sum(facts["training"]["pass_rates"].values()) == 160
    assert set(facts["outputs"]) >= {"train.parquet", "heldout.parquet", "reuse/tau_2.parquet"}
    titles = [table.title for table in tables(facts)]
    assert titles[0] == "Sources"
    assert any("Rejected of 200 rows, 160 kept" in title for title in titles)
    assert all(len(row) == len(table.columns) for table in tables(facts) for row in table.rows)


def test_a_moved_source_file_is_no_other_source(study: Study, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "set.jsonl", plain_rows(200))
    fingerprint = prepare_fingerprint(file_study(study, path))
    assert prepare_fingerprint(file_study(study, path.rename(tmp_path / "moved.jsonl"))) == fingerprint


@pytest.mark.slow
def test_the_stage_imports_neither_torch_nor_an_orchestrator(repository: Path) -> None:
    code = "import sys, tasks.prepare.prepare, flows.cli.prepare; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert not {"torch", "transformers", "prefect", "mlflow", "math_verify"} & set(done.stdout.split())


def test_hub_files_put_in_place_by_hand_are_prepared_without_network(study: Study, tmp_path: Path) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "data/sources/owner/set" / revision
    folder.mkdir(parents=True)
    rows = plain_rows(220)
    pq.write_table(published_table(rows[20:]), folder / "train.parquet")
    pq.write_table(published_table(rows[:20]), folder / "test.parquet")
    pq.write_table(published_table(rows[20:25]), folder / "bench.parquet")
    source = {"kind": "hub", "repository": "owner/set", "revision": revision}
    source |= {"train_file": "train.parquet", "heldout_file": "test.parquet"}
    benchmarks = [{"name": "bench", "source": "hub", "path": "bench.parquet"}]
    params = file_study(study, tmp_path, source=source, benchmarks=benchmarks)
    manifest = prepare(params)
    assert manifest["counts"]["rejected"]["contaminated"] == 5
    assert manifest["inputs"]["train"]["sha256"] == digest_file(folder / "train.parquet")
    assert len(read_problems(StudyPaths.of(params).heldout)) == 20


def test_a_heldout_file_of_another_size_than_the_params_say_is_refused(study: Study, tmp_path: Path) -> None:
    source = {
        "kind": "file",
        "path": str(write_jsonl(tmp_path / "set.jsonl", plain_rows(200))),
        "heldout_path": str(write_jsonl(tmp_path / "heldout.jsonl", plain_rows(7))),
    }
    with pytest.raises(InputError, match=r"heldout.jsonl: 7 held-out problems, prepare.heldout says 20"):
        prepare(file_study(study, tmp_path, source=source))


def test_a_generated_benchmark_needs_a_generated_source(study: Study, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "set.jsonl", plain_rows(200))
    benchmarks = [{"name": "hard", "source": "arithmetic", "level": 6, "problems": 5}]
    with pytest.raises(InputError, match=r"need prepare.source.kind arithmetic"):
        prepare(file_study(study, path, benchmarks=benchmarks))
