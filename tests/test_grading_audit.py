"""`rlscale grade`: files of answers, verdicts, and where a second grader disagrees."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.cli.main import main
from tasks.grading import GradeRequest, GradingPool
from tasks.grading.answer_table import read_answers
from tasks.grading.audit import audit
from tasks.study.errors import InputError

ROWS = [
    {"answer": "\\boxed{5}", "gold": "5"},
    {"answer": "\\boxed{\\sqrt{8}}", "gold": "2\\sqrt{2}"},
    {"answer": "final answer is $7$. I hope \\boxed{5}", "gold": "5"},
    {"answer": "\\boxed{6}", "gold": "5"},
]

pytestmark = pytest.mark.slow


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["grade", *arguments])
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


def write_rows(path: Path, rows: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_an_audit_names_the_answers_on_which_the_graders_differ() -> None:
    answers = [GradeRequest("math", row["answer"], row["gold"]) for row in ROWS]
    answers.append(GradeRequest("stem__supergpqa", "\\boxed{B}", "B"))
    with GradingPool(workers=1, seconds=20.0) as pool:
        found = audit(answers, pool)
    assert (found.stats.graded, found.stats.right, found.audited, found.reference_stats.right) == (5, 4, 4, 2)
    assert found.rows() == [
        {
            "row": 2,
            "data_source": "math",
            "gold": "5",
            "answer": "5",
            "ours": "right",
            "other": "wrong",
            "reason": "same number",
        }
    ]


def test_the_command_prints_json_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_rows(tmp_path / "answers.jsonl", ROWS)
    code, out, _ = run(capsys, str(path), "--json", "--workers", "1")
    result = json.loads(out)
    assert code == 0
    assert result["summary"]["right_lenient"] == 3
    assert [row["row"] for row in result["disagreements"]] == [2]
    assert [verdict["status"] for verdict in result["verdicts"]] == ["right", "right", "right", "wrong"]
    code, out, _ = run(capsys, str(path), "--workers", "1")
    assert code == 0
    assert "Disagreement with plain math-verify (1 of 1 shown)" in out


def test_hostile_text_can_be_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows: list[dict[str, object]] = [{"answer": "final answer is $7$. I hope \\boxed{[/x]\ud800\x00\n}", "gold": "7"}]
    path = write_rows(tmp_path / "answers.jsonl", rows)
    for arguments in ([], ["--json"]):
        code, out, _ = run(capsys, str(path), "--workers", "1", *arguments)
        assert code == 0
        assert "[/x]" in out


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_every_file_format_gives_the_same_answers(tmp_path: Path, suffix: str) -> None:
    import pandas as pd

    path = tmp_path / f"answers{suffix}"
    frame = pd.DataFrame(ROWS)
    if suffix == ".csv":
        frame.to_csv(path, index=False)
    elif suffix == ".jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    assert read_answers(path, "math") == [GradeRequest("math", row["answer"], row["gold"]) for row in ROWS]


def test_a_row_can_name_its_own_data_source_and_carry_a_grid(tmp_path: Path) -> None:
    grid = {"header": ["Position", "Job"], "rows": [["1", "cook"]]}
    row: dict[str, object] = {"answer": "x", "gold": grid, "data_source": "logic__zebra_puzzle_dataset"}
    path = write_rows(tmp_path / "answers.jsonl", [row])
    assert read_answers(path, "math") == [GradeRequest("logic__zebra_puzzle_dataset", "x", json.dumps(grid))]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "x", r"expected a \.csv, \.jsonl or \.parquet file"),
        ("a.csv", "answer,gold\n", "holds no rows"),
        ("a.csv", "answer,other\n1,2\n", "row 1: no value in column 'gold'"),
        ("a.csv", "answer,gold\n1,2\n3\n", "row 2: no value in column 'gold'"),
        ("a.csv", "answer,gold\n\xff,2\n", "expected CSV in UTF-8"),
        ("a.jsonl", '{"answer": "1", "gold": "2"}\n{"answer"\n', "row 2: expected one JSON object per line"),
        ("a.jsonl", "[1]\n", "row 1: expected a JSON object, not list"),
        ("a.jsonl", '{"answer": [1], "gold": "2"}\n', "row 1: expected text in column 'answer', not list"),
        ("a.jsonl", '{"answer": "1", "gold": "2", "data_source": "physics"}\n', "row 1: data_source 'physics'"),
        ("a.parquet", "no parquet", "expected a parquet file"),
    ],
)
def test_a_bad_file_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match=message):
        read_answers(path, "math")
    code, _, err = run(capsys, str(path))
    assert code == 2
    assert err.startswith("rlscale: ")
    assert "Traceback" not in err


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.csv: there is no such file"):
        read_answers(tmp_path / "absent.csv", "math")
