"""Which scorer grades which problem set: the one place where data sources are named."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from tasks.grading.scorers import choice, code, independent_reader, math, math_verify_baseline, zebra
from tasks.grading.verdicts import DeferredGrade, GradeRequest, Verdict
from tasks.study.errors import InputError


@dataclass(frozen=True)
class Scorer:
    """How one kind of answer is graded.

    Attributes:
        name: short name, travels to the worker process.
        grade_fast: decides in the calling process, or returns the work a worker has to do. Cheap and safe on any text.
        grade_slow: decides in a worker process within a limit in seconds; may hang or die, which the pool handles.
            None where `grade_fast` decides everything.
    """

    name: str
    grade_fast: Callable[[GradeRequest], Verdict | DeferredGrade]
    grade_slow: Callable[[DeferredGrade, float], Verdict] | None = None


SCORERS: dict[str, Scorer] = {
    scorer.name: scorer
    for scorer in (
        Scorer("math", math.grade_fast, math.grade_slow),
        Scorer("number", math.grade_number),
        Scorer("plain", math_verify_baseline.grade_fast, math_verify_baseline.grade_slow),
        Scorer("reader", independent_reader.grade_fast, independent_reader.grade_slow),
        Scorer("choice", choice.grade_fast),
        Scorer("grid", zebra.grade_fast),
        Scorer("code", code.grade_fast, code.grade_slow),
    )
}

# First match wins. `math` covers the published sources math__math, math__deepscaler_preview and
# math__merged_deduped_dapo_or1_dataset; the AMC file calls itself aimeamc2023.
DATA_SOURCES: tuple[tuple[str, str], ...] = (
    (r"arithmetic.*", "number"),
    (r"math.*", "math"),
    (r"(openai/)?gsm8k.*", "math"),
    (r"(aime|amc).*", "math"),
    (re.escape(math_verify_baseline.DATA_SOURCE), "plain"),
    (re.escape(independent_reader.DATA_SOURCE), "reader"),
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
    patterns = ", ".join(pattern for pattern, _ in DATA_SOURCES)
    raise InputError(f"data_source {data_source!r} has no scorer; known patterns are {patterns}")
