"""What was prepared, as tables for a person: read from the manifest, computed nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tasks.prepare.checks.rejections import RULES
from tasks.study.errors import InputError
from tasks.study.manifests import read_manifest
from tasks.study.params import Params
from tasks.study.paths import StudyPaths

SHARES = ("median", "p95", "p99", "longest")


class Table(NamedTuple):
    """A table: title, column names, rows."""

    title: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def description(params: Params) -> dict[str, Any]:
    """Returns the manifest's facts about the study's problems.

    Raises:
        InputError: the stage has not been run.
    """
    folder = StudyPaths.of(params).stage("prepare")
    manifest = read_manifest(folder)
    if manifest is None or "counts" not in manifest:
        raise InputError(f"{folder}: nothing prepared yet; run `rlscale prepare` first")
    sets = {name: entry["sha256"] for name, entry in manifest["files"].items()}
    keys = ("inputs", "counts", "evaluation", "unscorable", "overlap", "training")
    return {key: manifest[key] for key in keys} | {"outputs": sets}


def tables(facts: Mapping[str, Any]) -> list[Table]:
    """Lays the facts out: sources, rejected rows by reason, difficulty, prompt lengths, overlap."""
    counts, training = facts["counts"], facts["training"]
    inputs = [
        (name, entry["source"], _rows_of(name, facts), entry["sha256"][:12])
        for name, entry in sorted(
            facts["inputs"].items(), key=lambda item: (item[0] != "train", item[0] != "heldout", item[0])
        )
    ]
    if "heldout" not in facts["inputs"]:
        inputs.append(("heldout", "split off train", facts["evaluation"]["heldout"], ""))
    rejected = [(rule, counts["rejected"].get(rule, 0), why) for rule, why in RULES.items()]
    rejected += [("(repaired)", counts["repaired"], "doubled backslashes undone; the rows stay")]
    rejected += [("(recognised)", counts["carried_instruction"], "an instruction was already there; the rows stay")]
    rates = [(rate, count, _bar(count, training["pass_rates"])) for rate, count in training["pass_rates"].items()]
    levels = [(f"level {level}", count, _bar(count, training["levels"])) for level, count in training["levels"].items()]
    lengths = [(u, *(training[u][share] for share in SHARES)) for u in ("characters", "tokens") if u in training]
    return [
        Table("Sources", ("set", "source", "rows", "sha256"), inputs),
        Table(f"Rejected of {counts['read']} rows, {counts['train']} kept", ("rule", "rows", "meaning"), rejected),
        Table("Difficulty of the training problems", ("pass rate", "problems", ""), rates + levels),
        Table("Prompt lengths", ("unit", *SHARES), lengths),
        Table("Overlap", ("training problems in", "exact", "near", "n-gram"), _overlap_rows(facts)),
        Table("Evaluation sets", ("finding", "problems"), _evaluation_rows(facts)),
    ]


def _rows_of(name: str, facts: Mapping[str, Any]) -> int:
    return facts["counts"]["read"] if name == "train" else facts["evaluation"][name]


def _overlap_rows(facts: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    found = facts["overlap"]["training"]
    return [
        (name, *(found.get(name, {}).get(kind, 0) for kind in ("exact", "near", "ngram")))
        for name in facts["evaluation"]
    ]


def _evaluation_rows(facts: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    shared = list(facts["overlap"]["evaluation"].items())
    golds = [(f"{name}: gold answers that cannot score", len(ids)) for name, ids in facts["unscorable"].items() if ids]
    return [*shared, *golds] or [("no problem shared, every gold answer can score", "")]


def _bar(count: int, counts: Mapping[str, int]) -> str:
    most = max(counts.values()) or 1
    return "█" * round(30 * count / most)
