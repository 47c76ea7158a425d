"""Seconds and memory of `rlscale import` on a table of 1,000,000 rows and on a console log of 100 MB.

Beside each stands what reading the file alone costs: pandas' CSV reader for the table, one pass over the log's lines
that looks for the step. Run: `python benchmarks/import_speed.py`.
"""

from __future__ import annotations

import math
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS, LOG_BYTES = 1_000_000, 100_000_000
SIZES = (5e8, 1.5e9, 3e9, 7e9, 14e9, 32e9)
READ_TABLE = "import pandas, sys; pandas.read_csv(sys.argv[1])"
READ_LOG = "import sys\nfor line in open(sys.argv[1]): 'step:' in line"


def write_table(path: Path) -> None:
    """A table of 18 runs."""
    rng = random.Random(0)
    with path.open("w") as file:
        file.write("run_id,params,step,compute,test_loss,trials\n")
        for run in range(18):
            n = SIZES[run % len(SIZES)]
            for step in range(1, ROWS // 18 + 1):
                compute = 6 * n * 1e6 * step
                loss = 0.9 * compute**-0.01 * math.exp(rng.gauss(0, 0.01))
                file.write(f"r{run},{n:g},{step},{compute:.6g},{loss:.5f},500\n")


def write_log(path: Path) -> None:
    """verl's step lines with 50 keys each, a validation every fifth step."""
    rng = random.Random(0)
    keys = [f"timing_s/part_{index}" for index in range(25)] + [f"actor/statistic_{index}" for index in range(20)]
    size = step = 0
    with path.open("w") as file:
        while size < LOG_BYTES:
            values = " - ".join(f"{key}:{rng.random():.3f}" for key in keys)
            share = f" - val-core/openai/gsm8k/reward/mean@1:{rng.random():.3f}" if step % 5 == 0 else ""
            size += file.write(f"(TaskRunner pid=1) step:{step} - {values} - perf/total_num_tokens:1.0{share}\n")
            step += 1


def measured(command: list[str]) -> tuple[float, float]:
    """Wall seconds of a command and the largest resident memory of any so far, GB."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6


def main() -> None:
    program = Path(sys.executable).with_name("rlscale")
    with tempfile.TemporaryDirectory() as folder:
        table, log, out = Path(folder, "table.csv"), Path(folder, "run_7b.log"), Path(folder, "points.parquet")
        write_log(log)
        write_table(table)
        for name, path, script in (("log of 100 MB", log, READ_LOG), ("table of 1e6 rows", table, READ_TABLE)):
            alone, _ = measured([sys.executable, "-c", script, str(path)])
            seconds, memory = measured([str(program), "import", str(path), "-o", str(out)])
            print(f"{name}: {seconds:.1f} s, {memory:.2f} GB; reading alone {alone:.1f} s, ratio {seconds / alone:.1f}")


if __name__ == "__main__":
    main()
