"""Where raw records come from: one interface for hub data sets, local files and the generator."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.prepare.sources.arithmetic_source import benchmark_records, generate
from tasks.prepare.sources.hub_files import fetch
from tasks.prepare.sources.rows import Columns, Raw
from tasks.study.errors import InputError
from tasks.study.manifests import canonical_json, digest_file, digest_text
from tasks.study.params import ArithmeticSource, Benchmark, HubSource, Params

BATCH = 4096

Batch = list[Raw | None]


@dataclass(frozen=True)
class Source:
    """A stream of raw records.

    Attributes:
        label: what listings call it: a file's name, or what was generated.
        columns: the source's names.
        open: starts the stream: batches of records, None for what cannot be read as a record.
        facts: for the manifest: SHA-256 and size of the file, or the digest of the generator's arguments.
    """

    label: str
    columns: Columns
    open: Callable[[], Iterator[Batch]]
    facts: dict[str, Any]


def training_source(params: Params, exclude: Collection[str]) -> Source:
    """The source of training problems.

    Args:
        params: the study.
        exclude: keys of problems the generator must not draw.
    """
    spec = params.prepare
    if spec.source.kind == "arithmetic":
        count = params.train.steps * params.train.batch + spec.heldout
        return _generated("arithmetic", lambda: generate(_arithmetic(params), count, spec.seed, exclude), spec.seed)
    if spec.source.kind == "hub":
        return _hub_file(params, spec.source, spec.source.train_file)
    return file_source(Path(spec.source.path), Columns(spec.source.pass_rate_column))


def heldout_source(params: Params) -> Source | None:
    """The source of held-out problems, where the study names one; None: they are split off."""
    source = params.prepare.source
    if source.kind == "hub" and source.heldout_file:
        return _hub_file(params, source, source.heldout_file)
    if source.kind == "file" and source.heldout_path:
        return file_source(Path(source.heldout_path), Columns(source.pass_rate_column))
    return None


def benchmark_source(params: Params, benchmark: Benchmark) -> Source:
    """The source of an evaluation set.

    Raises:
        InputError: the benchmark's settings do not name a source.
    """
    columns, source = Columns(prefix=benchmark.name), params.prepare.source
    where = f"prepare.benchmarks.{benchmark.name}"
    if benchmark.source == "arithmetic":
        if benchmark.level is None or benchmark.problems is None:
            raise InputError(f"{where}: an arithmetic benchmark needs level and problems")
        level, count, seed = benchmark.level, benchmark.problems, params.prepare.seed
        records = lambda: benchmark_records(_arithmetic(params), level, count, seed)  # noqa: E731
        return _generated(f"arithmetic level {level}", records, seed, prefix=benchmark.name)
    if benchmark.path is None:
        raise InputError(f"{where}: path is missing")
    if benchmark.source == "file":
        return file_source(Path(benchmark.path), columns, benchmark.origin)
    repository = benchmark.repository or (source.repository if source.kind == "hub" else None)
    if repository is None:
        raise InputError(f"{where}: repository is missing")
    same = source.kind == "hub" and source.repository == repository
    revision = benchmark.revision or (source.revision if same and isinstance(source, HubSource) else None)
    return file_source(fetch(repository, revision, benchmark.path, params.root / "sources"), columns)


def file_source(path: Path, columns: Columns, origin: str | None = None) -> Source:
    """A local parquet or JSONL file; `origin` says where a missing one can be had.

    Raises:
        InputError: there is no such file, or it is of neither kind.
    """
    if not path.is_file():
        hint = f"; fetch it from {origin} and put it there" if origin else ""
        raise InputError(f"{path}: no such file, expected a parquet or JSONL file of problems{hint}")
    readers = {".parquet": _parquet_batches, ".pq": _parquet_batches, ".jsonl": _json_batches, ".ndjson": _json_batches}
    if path.suffix not in readers:
        raise InputError(f"{path}: expected a name that ends in {', '.join(readers)}")
    facts = {"sha256": digest_file(path), "bytes": path.stat().st_size}
    return Source(path.name, columns, lambda: readers[path.suffix](path), facts)


def _hub_file(params: Params, source: HubSource, file: str) -> Source:
    path = fetch(source.repository, source.revision, file, params.root / "sources")
    return file_source(path, Columns(source.pass_rate_column))


def _arithmetic(params: Params) -> ArithmeticSource:
    """The generator's settings; a benchmark of generated problems needs the same kind of source."""
    source = params.prepare.source
    if source.kind != "arithmetic":
        raise InputError("prepare.benchmarks: generated problems need prepare.source.kind arithmetic")
    return source


def _generated(label: str, records: Callable[[], list[Raw]], seed: int, prefix: str = "") -> Source:
    generated = records()
    facts = {"sha256": digest_text(canonical_json(generated)), "seed": seed}
    columns = Columns(key="key", prefix=prefix)
    return Source(label, columns, lambda: _in_batches(generated), facts)


def _in_batches(records: list[Raw]) -> Iterator[Batch]:
    for start in range(0, len(records), BATCH):
        yield list(records[start : start + BATCH])


def _parquet_batches(path: Path) -> Iterator[Batch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                yield batch.to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: not a readable parquet file ({str(error).splitlines()[0]})") from None


def _json_batches(path: Path) -> Iterator[Batch]:
    batch: Batch = []
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                batch.append(_json_record(line))
            if len(batch) == BATCH:
                yield batch
                batch = []
    yield batch


def _json_record(line: bytes) -> Raw | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
