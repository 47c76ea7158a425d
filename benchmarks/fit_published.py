"""Fitted against published coefficients, and the true held-out error at 72B, on the digitised published points.

    python -m benchmarks.fit_published [FOLDER] [--json]

FOLDER holds base_compute.csv and base_data.csv; by default tests/data/published. The law for 72B is picked by held-out
error among 0.5B to 32B alone, and nothing is refitted on 72B; for comparison the other laws that forecast unseen sizes
are shown too, though they were not picked, and the published way (slope from <= 32B, level refitted on 72B).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from tasks.fit.data.columns import Columns, resolve
from tasks.fit.data.groups import groups_of
from tasks.fit.data.table import read_table
from tasks.fit.laws import LAWS
from tasks.fit.solver.estimate import Options
from tasks.fit.summary import PublishedComparison, summarize
from tasks.fit.validation.backtest import backtests, held_out_largest, held_out_of
from tasks.records.fits import BackTest
from tasks.records.json_files import to_json

PUBLISHED = Path(__file__).resolve().parents[1] / "tests" / "data" / "published"


def judge(file: Path) -> dict[str, Any]:
    """Everything about one file."""
    table = read_table(file)
    (columns,) = resolve(table, Columns())
    ((group, points),) = groups_of(table, columns).items()
    summary = summarize(points, group, "saturating", Options())
    choice, picked = held_out_largest(points, Options(), group)
    others = [held_out_of(points, LAWS[name], Options(), group) for name in (choice.errors if choice else {})]
    published_way = held_out_of(points, LAWS["saturating"], Options("linear"), group)
    ahead = [t for t in backtests(points, LAWS["saturating"], Options(), group) if t.kind.startswith("last")]
    return {
        "file": file.name,
        "comparisons": summary.published,
        "choice": choice,
        "picked": picked,
        "others": others,
        "published_way": published_way,
        "ahead": ahead,
    }


def show(row: dict[str, Any]) -> None:
    """Prints one file's results."""
    print(f"== {row['file']}")
    for item in row["comparisons"]:
        assert isinstance(item, PublishedComparison)
        kmax, n0 = _off(item.kmax, item.kmax_published), _off(item.n0, item.n0_published)
        r2 = "" if item.r2_published is None else f" (published {item.r2_published:.4f})"
        print(f"{item.sizes:14s} Kmax {item.kmax:.6f} (published {item.kmax_published:.5f}, {kmax})")
        print(f"{'':14s} N0 {item.n0:.6g} (published {item.n0_published:.5g}, {n0}), R2 {item.r2:.5f}{r2}")
    print("picked without 72B:", row["choice"].chosen, {k: round(v, 4) for k, v in row["choice"].errors.items()})
    for test in (row["picked"], *row["others"], row["published_way"], *row["ahead"]):
        _show_test(test)


def _show_test(test: BackTest) -> None:
    level = "E refitted" if test.level_refitted else "nothing refitted"
    last, covered = "", "/".join(f"{share:.2f}" for share in test.coverage.values())
    if test.last_measured is not None:
        last = f"last {test.last_measured:.3f}, forecast {test.last_forecast:.3f}"
        last += f" [{test.last_low:.3f}, {test.last_high:.3f}]"
    print(
        f"{test.kind:12s}{test.law:13s}{test.held_out:4s} {level:17s} R2 {test.r2_linear or float('nan'):6.3f} "
        f"RMSE {test.rmse_log:.4f} coverage {covered} {last}"
    )


def _off(value: float, reference: float) -> str:
    return f"{100 * (value / reference - 1):+.3f} %"


def main() -> None:
    """Judges both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=PUBLISHED)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    np.seterr(all="ignore")
    rows = [judge(given.folder / name) for name in ("base_compute.csv", "base_data.csv")]
    if given.json:
        print(json.dumps(to_json(rows), indent=1))
        return
    for row in rows:
        show(row)


if __name__ == "__main__":
    main()
