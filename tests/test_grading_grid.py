"""Logic puzzles: the grid in its tag, with or without a code fence around it."""

from __future__ import annotations

import json

import pytest

from tasks.grading import GradeRequest, Verdict
from tasks.grading.scorers.zebra import grade_fast

GRID = {"header": ["Position", "Job", "Pet"], "rows": [["1", "actor", "dog"], ["2", "cook", "cat"]]}
WRONG = {"header": GRID["header"], "rows": [["1", "cook", "dog"], ["2", "actor", "cat"]]}


def grade(completion: str) -> Verdict:
    return grade_fast(GradeRequest("logic__zebra_puzzle_dataset", completion, json.dumps(GRID)))


FENCES = {
    "json": "```json\n{}\n```",
    "no language": "\n```\n{}\n```\n",
    "tildes": "~~~json\n{}\n~~~",
    "four backticks": "````\n{}\n````",
    "one line": "```{}```",
    "indented": "  ```json\n  {}\n  ```",
    "unclosed": "```json\n{}\n",
}


@pytest.mark.parametrize("fence", FENCES)
def test_a_fence_inside_the_tag_changes_no_verdict(fence: str) -> None:
    for grid, score in ((GRID, 1.0), (WRONG, 0.5)):
        verdict = grade(f"So <answer>{FENCES[fence].replace('{}', json.dumps(grid))}</answer>")
        assert (verdict.lenient, verdict.correct) == (score, score == 1.0)


def test_two_fenced_grids_are_no_answer() -> None:
    both = "\n".join(f"```json\n{json.dumps(grid)}\n```" for grid in (WRONG, GRID))
    assert grade(f"<answer>{both}</answer>").lenient == 0.0


def test_what_is_thought_is_no_answer() -> None:
    right, wrong = (f"<answer>{json.dumps(grid)}</answer>" for grid in (GRID, WRONG))
    assert grade(f"<think>{wrong}</think>{right}").correct
    assert not grade(f"<think>{right}</think>{wrong}").correct
    assert grade(f"<think>{right}").lenient == 0.0
    assert grade(f"<think>{right}</think>").lenient == 0.0
