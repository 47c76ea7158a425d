"""One row of a source, whatever its layout, and how a raw record becomes one.

Layouts: published (`prompt` = chat messages, `reward_model.ground_truth`, `extra_info`) and plain (`problem`,
`answer`, optionally `pass_rate`, `data_source`, `ability`, `level`). A record that is neither is refused with a reason
(`RowRejected`): the caller lists it and goes on.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tasks.prepare.sources.instructions import bare_problem, with_instructions
from tasks.prepare.sources.normalize import normalize
from tasks.records.problems import Problem
from tasks.study.params import Prepare

Raw = Mapping[str, Any]

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class RowRejected(Exception):
    """A record that cannot be a problem: the rule it breaks, and how."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.rule = rule
        self.detail = detail


class Columns(NamedTuple):
    """Column names and id prefix of a source.

    Attributes:
        pass_rate: another column of the pass rate besides `pass_rate`.
        key: column that names a problem; empty: problems are named by a digest of their normalized text.
        prefix: prefix of the problem ids; empty: the data source.
    """

    pass_rate: str = ""
    key: str = ""
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A readable row.

    Attributes:
        problem: what will be written.
        normalized: normalized bare problem text, for comparisons.
        repaired: whether doubled backslashes were undone.
        had_instruction: whether the prompt already carried an instruction.
    """

    problem: Problem
    normalized: str
    repaired: bool
    had_instruction: bool

    def with_pass_rate(self, rate: float) -> Row:
        """The row with a measured pass rate."""
        return dataclasses.replace(self, problem=dataclasses.replace(self.problem, pass_rate=rate))


def read_row(raw: Raw, spec: Prepare, columns: Columns) -> Row:
    """Turns a raw record into a row: reads either layout, repairs, adds instructions, normalizes.

    Args:
        raw: a record of a parquet or JSONL file, or of the generator.
        spec: instruction, suffix and cleaning settings.
        columns: the source's names.

    Raises:
        RowRejected: the record breaks the rule `schema` or `empty`.
    """
    published = "prompt" in raw
    messages = _messages(raw["prompt"]) if published else (("user", _text(raw, "problem")),)
    answer = _ground_truth(raw.get("reward_model")) if published else _answer(raw.get("answer"))
    source = _text(raw, "data_source") if published else str(raw.get("data_source") or "math")
    ability = str(raw.get("ability") or "math")
    original = messages, answer
    if spec.cleaning.repair_backslashes and ability == "math":
        messages = tuple((role, repair_backslashes(text)) for role, text in messages)
        answer = repair_backslashes(answer)
    prompts = [text.strip() for role, text in messages if role == "user"]
    bare = [bare_problem(text, spec.instruction, spec.suffix) for text in prompts]
    normalized = normalize("\n".join(bare))
    if not normalized:
        raise RowRejected("empty", "the problem has no text")
    key = str(raw[columns.key]) if columns.key else text_key(normalized)
    problem = Problem(
        problem_id=f"{columns.prefix or source}/{key}",
        data_source=source,
        messages=_with_instructions(messages, spec) if ability == "math" else messages,
        answer=answer,
        ability=ability,
        pass_rate=_pass_rate(raw, columns.pass_rate),
        level=_level(raw),
    )
    return Row(problem, normalized, repaired=(messages, answer) != original, had_instruction=bare != prompts)


def text_key(normalized: str) -> str:
    """Names a problem by its normalized text: 16 hex digits, stable when rows are reordered or reprinted."""
    return hashlib.blake2b(normalized.encode(), digest_size=8).hexdigest()


def _with_instructions(messages: tuple[tuple[str, str], ...], spec: Prepare) -> tuple[tuple[str, str], ...]:
    """Adds the instructions to the last user message."""
    last = max(index for index, (role, _) in enumerate(messages) if role == "user")
    text = with_instructions(messages[last][1], spec.instruction, spec.suffix)
    return (*messages[:last], ("user", text), *messages[last + 1 :])


def _messages(prompt: Any) -> tuple[tuple[str, str], ...]:
    if isinstance(prompt, str):
        return (("user", _filled(prompt, "prompt")),)
    if not isinstance(prompt, list) or not all(isinstance(message, Mapping) for message in prompt):
        raise RowRejected("schema", "prompt is neither a text nor a list of messages")
    messages = tuple((str(message.get("role")), message.get("content")) for message in prompt)
    if len(messages) == 1 and isinstance(messages[0][1], str) and messages[0][1].startswith("[{"):
        messages = _unwrapped(messages[0][1])
    if not any(role == "user" for role, _ in messages):
        raise RowRejected("schema", "prompt has no user message")
    return tuple((role, _filled(text, "prompt")) for role, text in messages)


def _unwrapped(text: str) -> tuple[tuple[str, Any], ...]:
    """A message list that was turned into its Python text, as HumanEval's prompts were."""
    try:
        value = ast.literal_eval(text)
        return tuple((str(message["role"]), message["content"]) for message in value)
    except (ValueError, SyntaxError, TypeError, KeyError, MemoryError, RecursionError):
        return (("user", text),)


def _ground_truth(reward: Any) -> str:
    if not isinstance(reward, Mapping):
        raise RowRejected("schema", "reward_model is not a struct")
    return _answer(reward.get("ground_truth"))


def _answer(value: Any) -> str:
    """A ground truth as text: structured ones as JSON, plain numbers in decimal notation."""
    if isinstance(value, Mapping | list):
        return json.dumps(value, ensure_ascii=False, sort_keys=True)
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return str(int(value)) if value == int(value) else repr(value)
    return _filled(value, "answer")


def _text(raw: Raw, key: str) -> str:
    if key not in raw:
        raise RowRejected("schema", f"no column {key}")
    return _filled(raw[key], key)


def _filled(value: Any, key: str) -> str:
    if value is None or (isinstance(value, str) and not value.strip()):
        raise RowRejected("empty", f"{key} is empty")
    if not isinstance(value, str):
        raise RowRejected("schema", f"{key} is not a text but {type(value).__name__}")
    if _UNSTORABLE.search(value):
        raise RowRejected("schema", f"{key} holds NUL or surrogate characters")
    return value


def _pass_rate(raw: Raw, column: str) -> float | None:
    """The pass rate from the named column or `pass_rate`, at the top or inside extra_info; None where unknown."""
    extra = raw.get("extra_info")
    records = (raw, extra) if isinstance(extra, Mapping) else (raw,)
    for key in (column, "pass_rate"):
        for record in records:
            value = record.get(key) if key else None
            if value is None or value != value:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
                raise RowRejected("schema", f"{key} is {value!r}, expected a share between 0 and 1")
            return float(value)
    return None


def _level(raw: Raw) -> int | None:
    extra = raw.get("extra_info")
    value = raw.get("level", extra.get("level") if isinstance(extra, Mapping) else None)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


_RUN = re.compile(r"\\+")
_COMMAND = re.compile(r"\\\\[A-Za-z{}]")
_ROUND = re.compile(r"(?<!\\)\\\\\(([^&]{0,500}?)(?<!\\)\\\\\)", re.DOTALL)
_SQUARE = re.compile(r"(?<!\\)\\\\\[([^&]{0,500}?)(?<!\\)\\\\\]", re.DOTALL)


def repair_backslashes(text: str) -> str:
    """Returns the text with doubled backslashes undone; unchanged where there are none."""
    if "\\\\" not in text:
        return text
    if _COMMAND.search(text) and all(len(run) % 2 == 0 for run in _RUN.findall(text)):
        return _RUN.sub(lambda match: match[0][: len(match[0]) // 2], text)
    text = _ROUND.sub(lambda match: _delimited(match, "(", ")"), text)
    return _SQUARE.sub(lambda match: _delimited(match, "[", "]"), text)


def _delimited(match: re.Match[str], opening: str, closing: str) -> str:
    inner = match[1]
    if "\\begin" in inner or "\\end" in inner or "\\\\" in inner:
        return match[0]
    return f"\\{opening}{inner}\\{closing}"
