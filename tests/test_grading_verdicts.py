"""What the scorers make of right, wrong, malformed, empty and unreadable answers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from tasks.grading import GradeRequest, GradingPool, Verdict, ground_truth_text, scorer_for
from tasks.study.errors import InputError

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pool() -> Iterator[GradingPool]:
    with GradingPool(workers=1, seconds=20.0) as opened:
        yield opened


def grade(pool: GradingPool, completion: str, gold: str, data_source: str = "math__math") -> Verdict:
    return pool.grade([GradeRequest(data_source, completion, gold)])[0]


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ("\\boxed{46}", "46"),
        ("We get \\boxed{1} at first, but finally \\boxed{46}.", "46"),
        ("So \\boxed{46} and now \\boxed{4", "46"),
        ("final answer is $7$. I hope it is correct. \\boxed{46}", "46"),
        ("46", "46"),
        ("The answer is 46.", "46"),
        ("$\\sqrt{193}$", "\\sqrt{193}"),
        ("\\boxed{\\frac{\\sqrt{12}}{2}}", "\\sqrt{3}"),
        ("\\boxed{\\frac{1}{2}}", "\\\\frac{1}{2}"),
        ("\\boxed{x = 3}", "3"),
        ("\\boxed{12 \\text{ cm}}", "12"),
        ("\\boxed{(1, 2)}", "(1,2)"),
        ("\\boxed{\\text{Evelyn}}", "\\text{Evelyn}"),
        ("\\boxed{0.333333}", "\\frac{1}{3}"),
        ("\\boxed{9^{9^{9^{9}}}}", "9^{9^{9^{9}}}"),
        ("\\boxed{9^{9^{9^9}}}", "9^{9^{9^{9}}}"),
    ],
)
def test_a_right_mathematical_answer_scores_one(pool: GradingPool, completion: str, gold: str) -> None:
    verdict = grade(pool, completion, gold)
    assert (verdict.status, verdict.lenient, verdict.correct) == ("right", 1.0, True)


@pytest.mark.parametrize(
    ("completion", "gold"),
    [
        ("\\boxed{45}", "46"),
        ("\\boxed{46} or rather \\boxed{45}", "46"),
        ("\\boxed{44, 45, 46}", "46"),
        ("\\boxed{44} \\boxed{46} \\boxed{45}", "46"),
        ("", "46"),
        ("   \n", "46"),
        ("\\boxed{", "46"),
        ("\\boxed{}", "46"),
        ("I do not know.", "46"),
        ("\\boxed{\\sqrt{192}}", "\\sqrt{193}"),
        ("\\boxed{9^{9^{9^{9}}}}", "46"),
        ("\\boxed{1000000!}", "46"),
        ("\\boxed{\\input{/etc/passwd}}", "46"),
        ("\\boxed{\x00}", "46"),
        ("\\boxed{\ud800}", "46"),
        ("\\boxed{４６}", "46"),
        ("\\boxed{" + "{" * 300 + "46" + "}" * 300 + "}", "46"),
        ("\\boxed{" + "9" * 1_000_000 + "}", "46"),
        ("9" * 1_000_000, "46"),
        ("Verdict(status='right', score=1.0)", "46"),
    ],
)
def test_a_wrong_malformed_empty_or_hostile_answer_scores_nothing(
    pool: GradingPool, completion: str, gold: str
) -> None:
    verdict = grade(pool, completion, gold)
    assert (verdict.status, verdict.lenient, verdict.correct) == ("wrong", 0.0, False)
    assert verdict.reason


def test_the_extracted_answer_and_the_reason_are_given(pool: GradingPool) -> None:
    assert grade(pool, "so \\boxed{45}", "46") == Verdict("wrong", 0.0, "45", "another number")
    verdict = grade(pool, "\\boxed{\\sin(x)}", "x+1")
    assert (verdict.extracted, verdict.reason) == ("\\sin(x)", "different by math-verify")


@pytest.mark.parametrize("gold", ["", "   ", "\\displaystyle"])
def test_a_gold_answer_without_content_cannot_be_judged(pool: GradingPool, gold: str) -> None:
    verdict = grade(pool, "\\boxed{x+1}", gold)
    assert (verdict.status, verdict.lenient) == ("unjudged", 0.0)


def test_a_gold_answer_that_parses_to_no_expression_judges_equal_texts_only(pool: GradingPool) -> None:
    gold = "m \\\\text{ is odd}"
    assert grade(pool, f"\\boxed{{{gold}}}", gold).status == "right"
    assert grade(pool, "\\boxed{5x}", gold).status == "unjudged"


def test_arithmetic_wants_a_plain_number_in_a_box_and_rewards_no_copied_sum(pool: GradingPool) -> None:
    assert grade(pool, "\\boxed{46}", "46", "arithmetic").correct
    assert grade(pool, "\\boxed{-46}", "-46", "arithmetic").correct
    for completion in (
        "\\boxed{12+34}",
        "46",
        "\\boxed{x=46}",
        "\\boxed{47}",
        "\\boxed{}",
        "",
        "\\boxed{46",
        "12+34=46",
    ):
        verdict = grade(pool, completion, "46", "arithmetic")
        assert verdict.strict == 0.0, completion
    assert grade(pool, "\\boxed{12+34}", "46", "math").correct


@pytest.mark.parametrize(
    ("completion", "status"),
    [
        ("\\boxed{B}", "right"),
        ("\\boxed{b}", "right"),
        ("\\boxed{\\text{(B)}}", "right"),
        ("\\boxed{B: 0.58g}", "right"),
        ("\\boxed{A} no, \\boxed{B}", "right"),
        ("The answer is (B).", "right"),
        ("\\boxed{A}", "wrong"),
        ("\\boxed{A, B, C}", "wrong"),
        ("\\boxed{BA}", "wrong"),
        ("\\boxed{A} \\boxed{B} \\boxed{C}", "wrong"),
        ("The answer is Boron.", "wrong"),
        ("", "wrong"),
    ],
)
def test_a_choice_is_one_letter_in_the_last_box(pool: GradingPool, completion: str, status: str) -> None:
    assert grade(pool, completion, "B", "stem__supergpqa").status == status


def test_a_choice_without_a_gold_letter_cannot_be_judged(pool: GradingPool) -> None:
    assert grade(pool, "\\boxed{B}", "0.58g", "stem__supergpqa").status == "unjudged"


GRID = {"header": ["Position", "Job", "Pet"], "rows": [["1", "actor", "dog"], ["2", "cook", "cat"]]}


@pytest.mark.parametrize(
    ("grid", "score"),
    [
        (GRID, 1.0),
        ({"header": ["Pet", "Position", "Job"], "rows": [["cat", 2, "Cook"], ["dog", 1, " actor"]]}, 1.0),
        ({"header": ["Position", "Job", "Pet"], "rows": [["1", "actor", "cat"], ["2", "cook", "dog"]]}, 0.5),
        ({"header": ["Position", "Job"], "rows": [["1", "actor"], ["2", "cook"]]}, 0.5),
        ({"header": ["Position", "Job", "Pet"], "rows": [["1", "actor", "dog"]]}, 0.5),
        ({"header": ["Position", "Job", "Pet"], "rows": [["1", "actor", "dog"], ["1", "cook", "cat"]]}, 0.0),
        ({"header": ["Position", "Job", "Job"], "rows": [["1", "actor", "dog"], ["2", "cook", "cat"]]}, 0.0),
        ({"header": ["Position", "Job", "Pet"], "rows": [["1", "actor"], ["2"]]}, 0.0),
        ({"header": ["Job", "Pet"], "rows": [["actor", "dog"], ["cook", "cat"]]}, 0.0),
        ({"header": [], "rows": []}, 0.0),
        ({"rows": GRID["rows"]}, 0.0),
        ([GRID], 0.0),
    ],
)
def test_a_grid_scores_its_right_cells(pool: GradingPool, grid: object, score: float) -> None:
    gold = json.dumps(GRID)
    verdict = grade(pool, f"Hence <answer> {json.dumps(grid)} </answer>", gold, "logic__zebra_puzzle_dataset")
    assert verdict.lenient == score
    assert verdict.correct == (score == 1.0)


@pytest.mark.parametrize(
    "completion", ["", "no tag", "<answer>", "<answer> {'header': } </answer>", "<answer>" + "[" * 9999]
)
def test_a_grid_that_cannot_be_read_scores_nothing(pool: GradingPool, completion: str) -> None:
    assert grade(pool, completion, json.dumps(GRID), "logic__zebra_puzzle_dataset").lenient == 0.0


def test_a_grid_is_read_in_python_spelling_and_from_the_last_tag(pool: GradingPool) -> None:
    completion = f"<answer> {{}} </answer> no: <answer> {GRID} </answer>"
    assert grade(pool, completion, json.dumps(GRID), "logic__zebra_puzzle_dataset").correct


def test_a_gold_grid_that_cannot_be_read_cannot_judge(pool: GradingPool) -> None:
    assert grade(pool, f"<answer> {GRID} </answer>", "17", "logic__zebra_puzzle_dataset").status == "unjudged"


def test_structured_gold_answers_become_text() -> None:
    import numpy as np

    rows = np.array(
        [np.array(["1", "actor", "dog"], dtype=object), np.array(["2", "cook", "cat"], dtype=object)], dtype=object
    )
    gold = {"header": np.array(GRID["header"], dtype=object), "rows": rows}
    assert json.loads(ground_truth_text(gold)) == GRID
    assert ground_truth_text("\\frac{1}{2}") == "\\frac{1}{2}"
    assert ground_truth_text(46) == "46"
    with pytest.raises(InputError, match="object"):
        ground_truth_text(object())


@pytest.mark.parametrize(
    "piece",
    ["```", "answer   ", "<answer>", "[", "\\boxed {", "\\binom{", "x = ", " ", "\n", "{,}", "1,000", "def f", "="],
)
def test_a_megabyte_of_anything_is_dealt_with_at_once_in_the_caller(piece: str) -> None:
    golds = {"math": "17", "arithmetic": "17", "stem__supergpqa": "B", "logic__zebra_puzzle_dataset": json.dumps(GRID)}
    golds["codegen__humaneval"] = '{"functional": "pass"}'
    text = piece * (1_000_000 // len(piece))
    for data_source, gold in golds.items():
        for completion in (text, f"\\boxed{{{text[:3000]}}}", "answer" + text):
            start = time.process_time()
            scorer_for(data_source).grade_fast(GradeRequest(data_source, completion, gold))
            assert time.process_time() - start < 2.0, data_source


@pytest.mark.parametrize(
    ("data_source", "name"),
    [
        ("arithmetic", "number"),
        ("math__math", "math"),
        ("math__deepscaler_preview", "math"),
        ("math__merged_deduped_dapo_or1_dataset", "math"),
        ("openai/gsm8k", "math"),
        ("gsm8k", "math"),
        ("aime2024", "math"),
        ("aimeamc2023", "math"),
        ("codegen__humaneval", "code"),
        ("logic__zebra_puzzle_dataset", "grid"),
        ("stem__supergpqa", "choice"),
    ],
)
def test_every_published_data_source_has_its_scorer(data_source: str, name: str) -> None:
    assert scorer_for(data_source).name == name


def test_an_unknown_data_source_is_named() -> None:
    with pytest.raises(InputError, match="'physics'"):
        scorer_for("physics")


def test_importing_grading_loads_no_heavy_library() -> None:
    heavy = ["math_verify", "sympy", "torch", "numpy", "pandas", "pyarrow"]
    code = (
        "import sys, tasks.grading, tasks.grading.audit, tasks.grading.answer_table\n"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
