"""Measured pass rates: one JSON line per problem, written as they are measured and read back by `prepare`.

A stopped measurement loses at most one chunk of problems: what the file already holds is not sampled again. The
first line names model, samples and settings, so that rates of two solvers never mix.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tasks.grading import GradingPool
from tasks.records.problems import Problem
from tasks.sampling.completions import grade_completions
from tasks.sampling.prompts import render_prompts
from tasks.sampling.protocol import Engine, SamplingSettings
from tasks.study.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHUNK = 64


def read_pass_rates(path: str | None) -> dict[str, float]:
    """Reads pass rates by problem id; an unfinished last line is left out, a missing file is empty.

    Raises:
        InputError: a line is no pass-rate record.
    """
    rates = {}
    for number, record in enumerate(_lines(Path(path)) if path else (), start=1):
        if "solver" in record:
            continue
        try:
            rates[str(record["problem_id"])] = record["right"] / record["samples"]
        except (TypeError, KeyError, ZeroDivisionError):
            raise InputError(f"{path}: line {number} is not a pass-rate record") from None
    return rates


@dataclass(frozen=True)
class Solver:
    """A model that solves problems.

    Attributes:
        engine: holds its weights.
        tokenizer: its tokenizer.
        style: whether prompts are chat-formatted.
    """

    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    style: Literal["plain", "chat"]


def measure_pass_rates(
    problems: Sequence[Problem], solver: Solver, pool: GradingPool, settings: SamplingSettings, path: Path
) -> Iterator[int]:
    """Samples each problem and appends how often the solver was right.

    Args:
        problems: problems without a pass rate.
        solver: the model.
        pool: grades the samples.
        settings: `n` samples per problem, temperature and lengths.
        path: the JSONL file; continued where it exists.

    Yields:
        Problems measured so far, after each chunk.

    Raises:
        InputError: the file was measured with another solver or other settings.
    """
    engine = solver.engine
    how = {"weights": engine.fingerprint(), "style": solver.style, "samples": settings.n, "seed": settings.seed}
    how |= {"temperature": settings.temperature, "top_p": settings.top_p, "max_tokens": settings.max_tokens}
    done = _resume(path, how)
    left = [problem for problem in problems if problem.problem_id not in done]
    for start in range(0, len(left), CHUNK):
        part = left[start : start + CHUNK]
        prompts = render_prompts(part, solver.tokenizer, solver.style, None)
        graded = grade_completions(prompts, engine.generate(prompts.requests, settings), pool)
        sums = [sum(entry.verdict.strictly_correct for entry in row) for row in graded]
        counts = zip(part, sums, strict=True)
        _append(path, [{"problem_id": p.problem_id, "right": hits, "samples": settings.n} for p, hits in counts])
        yield start + len(part)


def _resume(path: Path, how: dict[str, Any]) -> set[str]:
    """Cuts off an unfinished last line, checks how it was measured and returns the problems already measured."""
    if not path.is_file() or not (records := _lines(path)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"solver": how}) + "\n", encoding="utf-8")
        return set()
    if records[0].get("solver") != how:
        raise InputError(f"{path}: was measured with {records[0].get('solver')}, not with {how}; remove it first")
    data = path.read_bytes()
    os.truncate(path, data.rfind(b"\n") + 1)
    return {str(record["problem_id"]) for record in records[1:]}


def _append(path: Path, records: Sequence[dict[str, Any]]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(json.dumps(record) + "\n" for record in records))
        file.flush()
        os.fsync(file.fileno())


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    records = []
    for number, line in enumerate(text[: text.rfind("\n") + 1].splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict):
            raise InputError(f"{path}: line {number} is not a pass-rate record")
        records.append(record)
    return records
