"""What was prepared: facts about the training problems for the manifest, and the manifest as tables for a person."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from tasks.prepare.checks.lengths import PromptLengthChecker
from tasks.prepare.checks.rejections import RULES
from tasks.prepare.row_store import StoredRows
from tasks.records.problems import Problem
from tasks.study.errors import InputError
from tasks.study.manifests import read_manifest
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

QUANTILES = {"median": 0.5, "p95": 0.95, "p99": 0.99, "longest": 1.0}
_CHUNK = 4096
_EDGES = np.linspace(0.0, 1.0, 11)


class Table(NamedTuple):
    """A table: title, column names, rows."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def training_facts(
    stored: StoredRows, rows: NDArray[np.int64], length_checker: PromptLengthChecker | None
) -> dict[str, Any]:
    """Counts training problems by pass rate and level, and gives quantiles of prompt lengths.

    Args:
        stored: all rows.
        rows: the training rows.
        length_checker: measures tokens; None: lengths are given in characters only.
    """
    characters, tokens = [], []
    for start in range(0, len(rows), _CHUNK):
        prompts = stored.table.select(["prompt"]).take(pa.array(rows[start : start + _CHUNK], pa.int64())).to_pylist()
        texts = ["\n".join(message["content"] for message in record["prompt"]) for record in prompts]
        characters.append(np.asarray([len(text) for text in texts]))
        if length_checker is not None:
            tokens.append(length_checker.tokens([Problem("", "", (("user", text),), "") for text in texts]))
    facts: dict[str, Any] = {"pass_rates": _histogram(stored.rates[rows]), "levels": _levels(stored.levels[rows])}
    facts["characters"] = _quantiles(np.concatenate(characters))
    if tokens:
        facts["tokens"] = _quantiles(np.concatenate(tokens))
    return facts


def _histogram(rates: NDArray[np.float64]) -> dict[str, int]:
    """Problems by tenth of the pass rate; 0, 1 and unknown stand apart."""
    inner = rates[(rates > 0) & (rates < 1)]
    counts = {"0": int((rates == 0).sum())}
    for low, high, count in zip(_EDGES, _EDGES[1:], np.histogram(inner, _EDGES)[0].tolist(), strict=False):
        counts[f"{low:.1f}-{high:.1f}"] = count
    return counts | {"1": int((rates == 1).sum()), "unknown": int(np.isnan(rates).sum())}


def _levels(levels: NDArray[np.int64]) -> dict[str, int]:
    values, counts = np.unique(levels[levels >= 0], return_counts=True)
    return {str(value): count for value, count in zip(values.tolist(), counts.tolist(), strict=True)}


def _quantiles(lengths: NDArray[np.int64]) -> dict[str, int]:
    return {name: int(np.quantile(lengths, quantile, method="higher")) for name, quantile in QUANTILES.items()}


def description(params: Params) -> dict[str, Any]:
    """Returns the manifest's facts about the study's problems.

    Raises:
        InputError: the stage has not been run.
    """
    folder = StudyPaths.of(params).stage("prepare")
    manifest = read_manifest(folder)
    if manifest is None or "counts" not in manifest:
        raise InputError(f"{folder}: nothing prepared yet; run `rlscale prepare` first")
    digests = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    keys = ("inputs", "counts", "evaluation", "unscorable", "overlap", "training")
    return {key: manifest[key] for key in keys} | {"outputs": digests}


def tables(facts: Mapping[str, Any]) -> list[Table]:
    """Lays the facts out: sources, rejected rows by reason, difficulty, prompt lengths, overlap."""
    counts, training = facts["counts"], facts["training"]
    inputs = [
        (name, entry["source"], _num_rows(name, facts), entry["sha256"][:12])
        for name, entry in sorted(
            facts["inputs"].items(), key=lambda item: (item[0] != "train", item[0] != "heldout", item[0])
        )
    ]
    if "heldout" not in facts["inputs"]:
        known = sum(count for rate, count in training["pass_rates"].items() if rate != "unknown")
        how = "split off train" if known else "split off train at random, by length"
        inputs.append(("heldout", how, facts["evaluation"]["heldout"], ""))
    rejected = [(rule, counts["rejected"].get(rule, 0), why) for rule, why in RULES.items()]
    rejected += [("(repaired)", counts["repaired"], "doubled backslashes undone; the rows stay")]
    rejected += [("(recognised)", counts["carried_instruction"], "an instruction was already there; the rows stay")]
    rates = [(rate, count, _bar(count, training["pass_rates"])) for rate, count in training["pass_rates"].items()]
    levels = [(f"level {level}", count, _bar(count, training["levels"])) for level, count in training["levels"].items()]
    lengths = [(u, *(training[u][name] for name in QUANTILES)) for u in ("characters", "tokens") if u in training]
    return [
        Table("Sources", ("set", "source", "rows", "sha256"), inputs),
        Table(f"Rejected of {counts['read']} rows, {counts['train']} kept", ("rule", "rows", "meaning"), rejected),
        Table("Difficulty of the training problems", ("pass rate", "problems", ""), rates + levels),
        Table("Prompt lengths", ("unit", *QUANTILES), lengths),
        Table("Overlap", ("training problems in", "exact", "near", "n-gram"), _overlap_rows(facts)),
        Table("Evaluation sets", ("finding", "problems"), _evaluation_rows(facts)),
    ]


def _num_rows(name: str, facts: Mapping[str, Any]) -> int:
    return facts["counts"]["read"] if name == "train" else facts["evaluation"][name]


def _overlap_rows(facts: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    overlap = facts["overlap"]["training"]
    return [
        (name, *(overlap.get(name, {}).get(kind, 0) for kind in ("exact", "near", "ngram")))
        for name in facts["evaluation"]
    ]


def _evaluation_rows(facts: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    shared = list(facts["overlap"]["evaluation"].items())
    ungradable = [
        (f"{name}: gold answers that cannot score", len(ids)) for name, ids in facts["unscorable"].items() if ids
    ]
    return [*shared, *ungradable] or [("no problem shared, every gold answer can score", "")]


def _bar(count: int, counts: Mapping[str, int]) -> str:
    return "█" * round(30 * count / (max(counts.values()) or 1))
