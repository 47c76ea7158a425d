"""Collects the scores of a study from the params' list of runs, never from what lies in the folder."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tasks.errors import InputError
from tasks.evaluate.subjects import benchmark_names, folder_of, list_subjects, missing
from tasks.layout import Layout
from tasks.params import Params
from tasks.records import Score, write_scores
from tasks.state import stage_mark
from tasks.store import canonical_json, digest_text, once


def write_all(params: Params) -> Path:
    """Writes `data/evaluate/scores.parquet` and the stage's manifest; returns the stage's folder.

    Raises:
        InputError: a run has no valid score on one of the benchmarks.
    """
    layout = Layout.of(params)
    folder = layout.stage("evaluate")

    def body() -> tuple[list[str], dict[str, Any]]:
        scores = read_all(params)
        write_scores(layout.scores, scores)
        facts = [asdict(dataclasses.replace(score, seconds=0.0, tokens_per_second=0.0)) for score in scores]
        return [layout.scores.name], {"pairs": len(scores), "content": digest_text(canonical_json(facts))}

    once(folder, "evaluate", stage_mark(params, "evaluate"), body)
    return folder


def read_all(params: Params) -> list[Score]:
    """Reads every pair's score, in the order of the grid.

    Raises:
        InputError: one is missing.
    """
    names = benchmark_names(params)
    scores = []
    for subject in list_subjects(params):
        gaps = missing(params, subject, names)
        if gaps:
            raise InputError(f"{subject.name} has no score on {', '.join(gaps)}; run `rlscale evaluate` first")
        scores += [read_score(folder_of(params, subject, name)) for name in names]
    return scores


def read_score(folder: Path) -> Score:
    """Reads the score of one pair."""
    return Score(**json.loads((folder / "score.json").read_text(encoding="utf-8")))
