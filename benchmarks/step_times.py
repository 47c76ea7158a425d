"""Seconds of public GRPO runs by phase, measured and as `tasks.costs.step_time` predicts them.

    python benchmarks/step_times.py [FILE]

FILE has the columns of `public_step_times.csv`, facts with their sources. The constants were set on rows whose half is
`set`; rows whose half is `tried`, or of a file without that column, are what the errors below are of. A file without
`gpu`, `eager` or `response_tokens_max` is read as H100s, without CUDA graphs, with the longest completion that the
source's name states (`resp512`).

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
from pathlib import Path

import numpy as np

from tasks.costs.gpu_table import find_gpu
from tasks.costs.step_cost import Workload
from tasks.costs.step_time import Efficiency, step_seconds

PHASES = {"rollout": "gen_s", "old": "old_logprob_s", "reference": "ref_s", "training": "update_s"}


def predicted(row: dict[str, str]) -> dict[str, float]:
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
    efficiency = Efficiency().eager if row.get("eager", "1") == "1" else Efficiency()
    gpu = find_gpu(row["gpu"] or "h100")
    seconds = step_seconds(float(row["params"]), work, gpu, efficiency, int(row["gpus"]))
    return seconds | {"step": sum(seconds.values())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=Path(__file__).with_name("public_step_times.csv"))
    columns = PHASES | {"step": "step_s"}
    ratios: dict[tuple[str, str], list[float]] = {}
    print("| half | model | GPUs | " + " | ".join(columns) + " |\n|" + "---|" * (3 + len(columns)))
    with parser.parse_args().file.open(newline="") as lines:
        for row in csv.DictReader(lines):
            seconds, half, cells = predicted(row), row.get("half", "tried"), []
            for phase, column in columns.items():
                if not row[column]:
                    cells.append("")
                    continue
                measured = float(row[column])
                ratios.setdefault((half, phase), []).append(seconds[phase] / measured)
                cells.append(f"{seconds[phase]:.3g} / {measured:.3g}")
            print(f"| {half} | {row['model']} | {row['gpus']} {row['gpu'] or 'h100?'} | " + " | ".join(cells) + " |")
    print("\npredicted over measured: median absolute error, largest factor")
    for (half, phase), values in sorted(ratios.items()):
        found = np.array(values)
        worst = float(np.exp(np.abs(np.log(found)).max()))
        print(f"{half:6} {phase:10} n {len(found)}  {np.median(np.abs(found - 1)):6.1%}  {worst:.2f}")


if __name__ == "__main__":
    main()
