"""Strict and lenient: what each kind of answer earns in its form and out of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from tasks.grading import DeferredGrade, GradeRequest, GradingPool, Verdict, scorer_for
from tasks.sampling.protocol import Completion
from tasks.train.rollouts import RolloutSampler

GRID = json.dumps({"header": ["Position", "Job"], "rows": [["1", "cook"], ["2", "actor"]]})
HALF = json.dumps({"header": ["Position", "Job"], "rows": [["1", "cook"], ["2", "cook"]]})
MATH, NUMBER, CHOICE, PUZZLE = "math__math", "arithmetic", "stem__supergpqa", "logic__zebra_puzzle_dataset"


def grade(data_source: str, completion: str, gold: str) -> Verdict | DeferredGrade:
    return scorer_for(data_source).grade_fast(GradeRequest(data_source, completion, gold))


@pytest.mark.parametrize(
    ("data_source", "completion", "gold", "strict", "lenient"),
    [
        (MATH, "So \\boxed{46}", "46", 1, 1),
        (MATH, "So \\fbox{46}", "46", 1, 1),
        (MATH, "The answer is 46.", "46", 0, 1),
        (MATH, "46", "46", 0, 1),
        (MATH, "<think>\\boxed{46}</think> The answer is 46.", "46", 0, 1),
        (MATH, "<think>The answer is 46", "46", 0, 0),
        (MATH, "The answer is 46, no: \\boxed{47}", "46", 0, 0),
        (MATH, "The answer is not 46.", "46", 0, 0),
        (MATH, "\\boxed{46\\text{ apples}}", "46", 1, 1),
        (NUMBER, "\\boxed{46}", "46", 1, 1),
        (NUMBER, "46", "46", 0, 1),
        (NUMBER, "12+34=46", "46", 0, 1),
        (NUMBER, "\\boxed{x=46}", "46", 0, 1),
        (NUMBER, "\\boxed{46.}", "46", 0, 1),
        (NUMBER, "\\boxed{12+34}", "46", 0, 0),
        (NUMBER, "12+34", "46", 0, 0),
        (NUMBER, "46 or 47", "46", 0, 0),
        (NUMBER, "47 \\boxed{46}", "46", 1, 1),
        (CHOICE, "\\boxed{\\text{(B)}}", "B", 1, 1),
        (CHOICE, "Answer: B", "B", 0, 1),
        (CHOICE, "Answer: B, but \\boxed{C}", "B", 0, 0),
        (PUZZLE, f"<answer>{GRID}</answer>", GRID, 1, 1),
        (PUZZLE, f"```json\n{GRID}\n```", GRID, 0, 1),
        (PUZZLE, GRID, GRID, 0, 1),
        (PUZZLE, f"```json\n{HALF}\n```", GRID, 0, 0.5),
        (PUZZLE, f"The grid is {GRID}.", GRID, 0, 0),
    ],
)
def test_an_answer_out_of_its_form_scores_leniently_alone(
    data_source: str, completion: str, gold: str, strict: float, lenient: float
) -> None:
    verdict = grade(data_source, completion, gold)
    assert isinstance(verdict, Verdict)
    assert (verdict.strict, verdict.lenient) == (strict, lenient)
    assert verdict.correct == (lenient == 1)
    assert verdict.strictly_correct == (strict == 1)


@pytest.mark.slow
def test_the_form_survives_the_workers() -> None:
    tests = json.dumps({"functional": "assert double(2) == 4"})
    program = "def double(x):\n    return 2 * x\n"
    requests = [
        GradeRequest(MATH, completion, "3\\sqrt{5}")
        for completion in ("\\boxed{\\sqrt{45}}", "The answer is $\\sqrt{45}$.")
    ]
    requests += [GradeRequest("codegen__humaneval", text, tests) for text in (f"```python\n{program}```", program)]
    with GradingPool(workers=1, seconds=20.0) as pool:
        verdicts = pool.grade(requests)
    assert [(verdict.strict, verdict.lenient) for verdict in verdicts] == [(1, 1), (0, 1)] * 2
    assert (pool.last_stats.right, pool.last_stats.right_lenient) == (2, 4)


class Texts:
    """A tokenizer whose tokens are indices into a list of texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts

    def batch_decode(self, rows: Sequence[Sequence[int]], skip_special_tokens: bool) -> list[str]:
        assert skip_special_tokens
        return [self.texts[tokens[0]] for tokens in rows]


@pytest.mark.parametrize(("reward", "rewards"), [("strict", [1.0, 0.0, 0.0]), ("lenient", [1.0, 1.0, 0.0])])
def test_the_reward_is_the_score_that_the_params_name(reward: str, rewards: list[float]) -> None:
    texts = ["\\boxed{46}", "The answer is 46.", "\\boxed{47}"]
    prompts = SimpleNamespace(problems=[SimpleNamespace(data_source=NUMBER, answer="46")], tokenizer=Texts(texts))
    completions = [[Completion((index,), (0.0,), "stop") for index in range(3)]]
    with GradingPool() as pool:
        sampler = RolloutSampler(None, pool, reward)  # type: ignore[arg-type]
        graded = sampler.grade(prompts, completions)  # type: ignore[arg-type]
    assert graded.rewards == [rewards]
    assert (graded.right, graded.right_lenient) == (1, 2)
