"""The list of rejected rows: which, by which rule, and why. Written as it grows."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import pyarrow as pa
import pyarrow.parquet as pq

from tasks.study.manifests import atomic_path

RULES = {
    "schema": "the record is of no known layout",
    "empty": "problem or answer is empty",
    "answer": "the gold answer cannot score",
    "long": "the prompt is longer than train.sampling.max_prompt_tokens",
    "contaminated": "overlaps a held-out or benchmark problem",
    "duplicate": "repeats an earlier problem after normalisation",
    "near-duplicate": "nearly repeats an earlier problem",
    "surplus": "more problems than steps x batch; thinned evenly",
}
_SCHEMA = pa.schema(
    [
        ("source", pa.string()),
        ("row", pa.int64()),
        ("rule", pa.string()),
        ("detail", pa.string()),
        ("evaluation_set", pa.string()),
        ("evaluation_id", pa.string()),
        ("problem_id", pa.string()),
        ("problem", pa.string()),
    ]
)
_BUFFER = 2000


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected row.

    Attributes:
        source: file or generator.
        row: its number in the source, from 0.
        rule: a key of `RULES`.
        detail: what was found.
        problem_id: its id, where it got one.
        problem: its text, as far as readable.
        evaluation_set: for contaminated rows, where it was found.
        evaluation_id: for contaminated rows, the problem it overlaps.
    """

    source: str
    row: int
    rule: str
    detail: str
    problem_id: str | None = None
    problem: str | None = None
    evaluation_set: str | None = None
    evaluation_id: str | None = None


class Rejections:
    """Collects rejections into a parquet file; the file appears when the `with` block ends without an error.

    Attributes:
        counts: rejections by rule.
    """

    def __init__(self, path: Path) -> None:
        self.counts: Counter[str] = Counter()
        self._path = path
        self._buffer: list[Rejection] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Rejections:
        temporary = self._stack.enter_context(atomic_path(self._path))
        self._writer = self._stack.enter_context(pq.ParquetWriter(temporary, _SCHEMA))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._flush()
        self._stack.__exit__(kind, error, trace)

    def add(self, rejection: Rejection) -> None:
        """Adds one."""
        assert rejection.rule in RULES, rejection.rule
        self.counts[rejection.rule] += 1
        self._buffer.append(rejection)
        if len(self._buffer) >= _BUFFER:
            self._flush()

    def _flush(self) -> None:
        if self._buffer:
            rows = [asdict(rejection) for rejection in self._buffer]
            self._writer.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))
            self._buffer.clear()
