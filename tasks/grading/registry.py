"""Which scorer grades which problem set: the one place where data sources are named."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from tasks.grading.scorers import choice
from tasks.grading.scorers import code as code_answer
from tasks.grading.scorers import math as mathematics
from tasks.grading.scorers import math_verify_baseline as plain
from tasks.grading.scorers import zebra as grid
from tasks.grading.verdicts import Answer, Verdict, Work
from tasks.study.errors import InputError


@dataclass(frozen=True)
class Scorer:
    """How one kind of answer is graded.

    Attributes:
        name: short name, travels to the worker process.
        quick: decides in the calling process, or returns the work a worker has to do. Cheap and safe on any text.
        slow: decides in a worker process within a limit in seconds; may hang or die, the pool deals with it. None where
            `quick` decides everything.
    """

    name: str
    quick: Callable[[Answer], Verdict | Work]
    slow: Callable[[Work, float], Verdict] | None = None


SCORERS: dict[str, Scorer] = {
    scorer.name: scorer
    for scorer in (
        Scorer("math", mathematics.quick, mathematics.slow),
        Scorer("number", mathematics.quick_number),
        Scorer("plain", plain.quick, plain.slow),
        Scorer("choice", choice.quick),
        Scorer("grid", grid.quick),
        Scorer("code", code_answer.quick, code_answer.slow),
    )
}

# First match wins. `math` covers the published sources math__math, math__deepscaler_preview and
# math__merged_deduped_dapo_or1_dataset; the AMC file calls itself aimeamc2023.
DATA_SOURCES: tuple[tuple[str, str], ...] = (
    (r"arithmetic.*", "number"),
    (r"math.*", "math"),
    (r"(openai/)?gsm8k.*", "math"),
    (r"(aime|amc).*", "math"),
    (re.escape(plain.DATA_SOURCE), "plain"),
    (r"(stem__)?supergpqa.*", "choice"),
    (r"(logic__)?zebra_puzzle.*", "grid"),
    (r"(codegen__)?humaneval.*", "code"),
)


@cache
def scorer_for(data_source: str) -> Scorer:
    """Returns the scorer of a problem set.

    Raises:
        InputError: the data source is not known.
    """
    for pattern, name in DATA_SOURCES:
        if re.fullmatch(pattern, data_source):
            return SCORERS[name]
    known = ", ".join(pattern for pattern, _ in DATA_SOURCES)
    raise InputError(f"data_source {data_source!r} has no scorer; known patterns are {known}")
