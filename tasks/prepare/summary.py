"""What the manifest says about the training problems: difficulty and prompt lengths."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from tasks.prepare.checks.lengths import PromptLengthChecker
from tasks.prepare.row_store import StoredRows
from tasks.prepare.splits.curriculum import Integers
from tasks.records.problems import Problem

_CHUNK = 4096
_EDGES = np.linspace(0.0, 1.0, 11)


def describe_training(kept: StoredRows, rows: Integers, ruler: PromptLengthChecker | None) -> dict[str, Any]:
    """Counts problems by pass rate and level, and gives quantiles of prompt lengths.

    Args:
        kept: all rows.
        rows: the training rows.
        ruler: measures tokens; None: lengths are given in characters only.
    """
    characters, tokens = [], []
    for start in range(0, len(rows), _CHUNK):
        prompts = kept.table.select(["prompt"]).take(pa.array(rows[start : start + _CHUNK], pa.int64())).to_pylist()
        texts = ["\n".join(message["content"] for message in record["prompt"]) for record in prompts]
        characters.append(np.asarray([len(text) for text in texts]))
        if ruler is not None:
            tokens.append(ruler.tokens([Problem("", "", (("user", text),), "") for text in texts]))
    facts: dict[str, Any] = {"pass_rates": _histogram(kept.rates[rows]), "levels": _levels(kept.levels[rows])}
    facts["characters"] = _quantiles(np.concatenate(characters))
    if tokens:
        facts["tokens"] = _quantiles(np.concatenate(tokens))
    return facts


def _histogram(rates: np.ndarray) -> dict[str, int]:
    """Problems by tenth of the pass rate; 0, 1 and unknown stand apart."""
    known = rates[~np.isnan(rates)]
    inner = known[(known > 0) & (known < 1)]
    counts = {"0": int((known == 0).sum())}
    for low, high, count in zip(_EDGES, _EDGES[1:], np.histogram(inner, _EDGES)[0].tolist(), strict=False):
        counts[f"{low:.1f}-{high:.1f}"] = count
    return counts | {"1": int((known == 1).sum()), "unknown": int(np.isnan(rates).sum())}


def _levels(levels: np.ndarray) -> dict[str, int]:
    values, counts = np.unique(levels[levels >= 0], return_counts=True)
    return {str(value): count for value, count in zip(values.tolist(), counts.tolist(), strict=True)}


def _quantiles(lengths: np.ndarray) -> dict[str, int]:
    shares = {"median": 0.5, "p95": 0.95, "p99": 0.99, "longest": 1.0}
    return {name: int(np.quantile(lengths, share, method="higher")) for name, share in shares.items()}
