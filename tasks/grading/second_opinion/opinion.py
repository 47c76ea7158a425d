"""The opinion on one completion: what was read of it and of the gold, and whether both are the same."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.grading.second_opinion.compare import compare
from tasks.grading.second_opinion.final_answer import final_answers
from tasks.grading.second_opinion.nodes import TUPLES, Node, UnreadError, shown
from tasks.grading.second_opinion.reader import read
from tasks.grading.second_opinion.tokens import has_grouped_digits, prepared


@dataclass(frozen=True)
class Opinion:
    """What the second grader thinks.

    Attributes:
        same: whether answer and gold say the same; None where it cannot tell.
        answer: the reading of the answer, or why there is none.
        gold: the reading of the gold, or why there is none.
    """

    same: bool | None
    answer: str
    gold: str


def opinion(completion: str, gold: str) -> Opinion:
    """Returns the opinion on a completion."""
    truth, truth_shown = _read(gold)
    answers = final_answers(completion)
    if not answers:
        return Opinion(None, "no answer found", truth_shown)
    answer, answer_shown = _read(answers[-1])
    if len(answers) > 1 and truth is not None and truth.kind in ("list", "set") and len(truth.args) == len(answers):
        parts = [_read(each)[0] for each in answers]
        values = tuple(part for part in parts if part is not None and part.kind not in ("list", "set", *TUPLES))
        if len(values) == len(parts):
            answer = Node("list", values)
            answer_shown = shown(answer)
    if truth is None or answer is None:
        return Opinion(None, answer_shown, truth_shown)
    same = compare(truth, answer)
    if same is False and any(map(has_grouped_digits, map(prepared, (gold, answers[-1])))):
        same = None  # "1,234" may be a list
    return Opinion(same, answer_shown, truth_shown)


def _read(text: str) -> tuple[Node | None, str]:
    try:
        node = read(text)
        return node, shown(node)
    except (UnreadError, RecursionError) as error:
        return None, f"not read: {error}"
