"""`Problem`, a row of the published parquet layout (data_source, prompt, ability, reward_model, extra_info)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.records.parquet import read_parquet, write_parquet
from tasks.study.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Problem:
    """A problem with a verifiable answer.

    Attributes:
        problem_id: stable name, unique within the study; enters every sampling seed.
        data_source: decides the scorer (see `tasks.grading`).
        messages: the prompt as chat messages, (role, content) pairs.
        answer: ground truth as text; for structured truths, JSON.
        ability: math, codegen, logic, stem.
        pass_rate: fraction of a reference solver's samples that are right, None = unknown (counts as hardest).
        level: level of generated problems, None elsewhere.
    """

    problem_id: str
    data_source: str
    messages: tuple[tuple[str, str], ...]
    answer: str
    ability: str = "math"
    pass_rate: float | None = None
    level: int | None = None


def problem_schema() -> pa.Schema:
    """The published row layout, with our problem id, pass rate and level inside extra_info."""
    import pyarrow as pa

    message = pa.struct([("content", pa.string()), ("role", pa.string())])
    extra = [("index", pa.int64()), ("split", pa.string()), ("problem_id", pa.string())]
    extra += [("pass_rate", pa.float64()), ("level", pa.int64())]
    return pa.schema(
        [
            ("data_source", pa.string()),
            ("prompt", pa.list_(message)),
            ("ability", pa.string()),
            ("reward_model", pa.struct([("ground_truth", pa.string()), ("style", pa.string())])),
            ("extra_info", pa.struct(extra)),
        ]
    )


def write_problems(path: Path, problems: Sequence[Problem], split: str) -> None:
    """Writes problems atomically as parquet in the published row layout."""
    rows = (problem_row(problem, index, split) for index, problem in enumerate(problems))
    write_parquet(path, rows, problem_schema())


def problem_row(problem: Problem, index: int = 0, split: str = "") -> dict[str, Any]:
    """A problem as a row of the published layout."""
    return {
        "data_source": problem.data_source,
        "prompt": [{"role": role, "content": content} for role, content in problem.messages],
        "ability": problem.ability,
        "reward_model": {"ground_truth": problem.answer, "style": "rule"},
        "extra_info": {
            "index": index,
            "split": split,
            "problem_id": problem.problem_id,
            "pass_rate": problem.pass_rate,
            "level": problem.level,
        },
    }


def read_problems(path: Path) -> list[Problem]:
    """Reads problems that `write_problems` wrote.

    Raises:
        InputError: the file is missing or not of the prepared layout.
    """
    rows = read_parquet(path, "not a problem file; run `rlscale prepare` first")
    try:
        return [problem_of(row) for row in rows]
    except (KeyError, TypeError):
        raise InputError(f"{path}: rows are not of the prepared layout; run `rlscale prepare` again") from None


def problem_of(row: dict[str, Any]) -> Problem:
    """Turns a row of the written layout back into a problem."""
    extra = row["extra_info"]
    return Problem(
        problem_id=extra["problem_id"],
        data_source=row["data_source"],
        messages=tuple((message["role"], message["content"]) for message in row["prompt"]),
        answer=row["reward_model"]["ground_truth"],
        ability=row["ability"],
        pass_rate=extra["pass_rate"],
        level=extra["level"],
    )
