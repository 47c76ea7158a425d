"""Seconds of public GRPO runs by phase, measured and as `tasks.costs.step_time` predicts them.

    python benchmarks/step_times.py [--refit] [FILE]

FILE has the columns of `public_step_times.csv`, facts with their sources. The constants were set by hand on rows whose
half is `set`, with those of half `tried` known; rows of half `new` were found after the constants had been written down
and have not changed them. A file without `gpu`, `eager` or `response_tokens_max` is read as H100s, without CUDA graphs,
with the longest completion that the source's name states (`resp512`).

`--refit`: the constants are fitted anew, by least squares on log seconds, once for each half on the runs of the other
halves, so that every run is predicted by constants that have not seen it. Priors are a factor of `PRIOR` wide about
round values that no run has set: a third of peak, 70 % of bandwidth, 1 ms a layer eagerly and 0.2 ms in a graph, 3 s
whatever a phase does.

What is no fact but follows from one: `gpu_from` `logged MFU` means that FLOPs of the update over its seconds and the
logged MFU give the GPU's peak (of the H200 run also the model; memory gives the card); `eager` is 1 where LoRA and the
seconds of a decoding step say so, so that it is itself chosen by the
seconds. NeMo RL counts prompt and completion together, here under the completion;
its totals contain both log-prob passes. The H200 run's weight sync is counted with its generation.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from tasks.costs.gpu_table import find_gpu
from tasks.costs.step_cost import Workload
from tasks.costs.step_time import Efficiency, step_seconds

PHASES = {"rollout": "gen_s", "old": "old_logprob_s", "reference": "ref_s", "training": "update_s"}
COLUMNS = PHASES | {"step": "step_s"}
Errors = dict[str, list[float]]


PRIOR = 3.0
LOG_ERROR = 0.2
"""Standard deviation of log seconds that the fit assumes."""
START = {
    "mfu": 1 / 3,
    "mfu_rollout": 1 / 3,
    "bandwidth": 0.7,
    "eager layer": 1e-3,
    "layer": 2e-4,
    "training": 3.0,
    "old": 3.0,
    "reference": 3.0,
    "rollout": 3.0,
}
Row = dict[str, str]


def defaults(eager: bool) -> Efficiency:
    """The program's constants."""
    return Efficiency().eager if eager else Efficiency()


def predicted(row: Row, constants: Callable[[bool], Efficiency]) -> dict[str, float]:
    """Seconds of a row's run by phase, and of its step."""
    prompts, total = int(row["prompts"]), int(row["completions"])
    named = re.search(r"resp(\d+)", row["source"])
    longest = row.get("response_tokens_max") or (named and named.group(1))
    work = Workload(
        prompts,
        total // prompts,
        float(row["prompt_tokens_mean"]) + float(row["response_tokens_mean"]),
        eval_problems=0,
        reference=bool(row["ref_s"]) or not row["gen_s"],
        longest=float(longest) if longest else None,
    )
    efficiency = constants(row.get("eager", "1") == "1")
    gpu = find_gpu(row["gpu"] or "h100")
    seconds = step_seconds(float(row["params"]), work, gpu, efficiency, int(row["gpus"]))
    return seconds | {"step": sum(seconds.values())}


def measured(row: Row) -> dict[str, float]:
    """A row's known seconds by phase, and of its step."""
    return {phase: float(row[column]) for phase, column in COLUMNS.items() if row[column]}


def fitted(rows: list[Row]) -> Callable[[bool], Efficiency]:
    """Constants fitted on rows, phases where these are known, else whole steps."""

    def constants(logs: np.ndarray) -> Callable[[bool], Efficiency]:
        found = {name: float(value) for name, value in zip(START, np.exp(logs), strict=True)}
        shares = [min(1.0, found[name]) for name in ("mfu", "mfu_rollout", "bandwidth")]
        fixed = {phase: found[phase] for phase in PHASES} | {"evaluation": found["rollout"]}
        return lambda eager: Efficiency(*shares, found["eager layer" if eager else "layer"], fixed)

    start = np.log(list(START.values()))

    def residuals(logs: np.ndarray) -> np.ndarray:
        tried, out = constants(logs), list((logs - start) / np.log(PRIOR))
        for row in rows:
            expected, known = predicted(row, tried), measured(row)
            phases = [phase for phase in known if phase != "step"] or ["step"]
            out += [np.log(expected[phase] / known[phase]) / LOG_ERROR for phase in phases]
        return np.array(out)

    return constants(least_squares(residuals, start, loss="soft_l1").x)


def show(rows: list[Row], constants: Callable[[bool], Efficiency]) -> Errors:
    """Prints the table of predicted and measured seconds and returns their ratios by phase."""
    ratios: Errors = {}
    for row in rows:
        expected, known = predicted(row, constants), measured(row)
        for phase, seconds in known.items():
            ratios.setdefault(phase, []).append(expected[phase] / seconds)
        cells = [f"{expected[phase]:.3g} / {known[phase]:.3g}" if phase in known else "" for phase in COLUMNS]
        print(f"| {row['model']} | {row['gpus']} {row['gpu'] or 'h100?'} | " + " | ".join(cells) + " |")
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=Path(__file__).with_name("public_step_times.csv"))
    parser.add_argument("--refit", action="store_true", help="predict each half by constants fitted on the others")
    args = parser.parse_args()
    with args.file.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    pooled: Errors = {}
    for half in dict.fromkeys(half_of(row) for row in rows):
        chosen = [row for row in rows if half_of(row) == half]
        others = [row for row in rows if half_of(row) != half]
        print(f"\n| {half} | GPUs | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (2 + len(COLUMNS)))
        ratios = show(chosen, fitted(others) if args.refit else defaults)
        report(half, ratios)
        for phase, found in ratios.items():
            pooled.setdefault(phase, []).extend(found)
    if args.refit:
        report("all", pooled)


def half_of(row: Row) -> str:
    """The part of the runs that a row belongs to."""
    return row.get("half", "tried")


def report(name: str, ratios: Errors) -> None:
    """Prints the median absolute error and the largest factor by phase."""
    print("\npredicted over measured: median absolute error, largest factor")
    for phase, values in ratios.items():
        found = np.array(values)
        worst = float(np.exp(np.abs(np.log(found)).max()))
        print(f"{name:6} {phase:10} n {len(found)}  {np.median(np.abs(found - 1)):6.1%}  {worst:.2f}")


if __name__ == "__main__":
    main()
