"""What `rlscale plan` and `design` share: the hardware that is paid for, and what a training step consists of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tasks.costs.gpu_table import Gpu
    from tasks.costs.step_time import Efficiency


@dataclass(frozen=True)
class HardwareOptions:
    """What runs the study, and how well it is used."""

    gpu: Annotated[str, typer.Option("--gpu", help="Name in the GPU table.")] = "h100"
    gpu_table: Annotated[Path | None, typer.Option("--gpu-table", help="Own GPU table (TOML).")] = None
    price: Annotated[float | None, typer.Option("--price", help="USD per GPU-hour.")] = None
    mfu: Annotated[float, typer.Option("--mfu", help="Share of peak in training and log-prob passes.")] = 0.37
    mfu_rollout: Annotated[float, typer.Option("--mfu-rollout", help="Share of peak in generation.")] = 0.4

    calibrate: Annotated[
        list[Path] | None,
        typer.Option("--calibrate", help="Log of a run on this GPU: its seconds correct the hours. Repeatable."),
    ] = None
    calibrate_gpus: Annotated[
        int | None, typer.Option("--calibrate-gpus", min=1, help="GPUs of those runs, where a log does not say.")
    ] = None
    calibrate_size: Annotated[
        str | None, typer.Option("--calibrate-size", help="N of those runs, e.g. 7B, where a log does not say.")
    ] = None

    def gpu_and_efficiency(self) -> tuple[Gpu, Efficiency]:
        """The GPU from its table, at this price, and shares of its rates; prints what a calibration changed."""
        from tasks.costs.gpu_table import find_gpu
        from tasks.costs.step_time import Efficiency

        gpu, efficiency = find_gpu(self.gpu, self.gpu_table, self.price), Efficiency(self.mfu, self.mfu_rollout)
        if self.calibrate:
            from tasks.costs.calibration import calibrated
            from tasks.imports.step_times import timed_runs

            runs = timed_runs(self.calibrate, self.calibrate_gpus, self.calibrate_size)
            efficiency, notes = calibrated(efficiency, gpu, runs)
            for note in notes:
                typer.echo(f"calibration: {note}", err=True)
        return gpu, efficiency


@dataclass(frozen=True)
class StepOptions:
    """One training step, as `tasks.fit.forecasting.workload.workload_of` takes it."""

    prompts: Annotated[int | None, typer.Option("--prompts", min=1, help="Prompts per step.")] = None
    completions: Annotated[int, typer.Option("--completions", min=1, help="Completions per prompt.")] = 8
    tokens: Annotated[float | None, typer.Option("--tokens", help="Mean tokens of prompt and completion.")] = None
    eval_problems: Annotated[int, typer.Option("--eval-problems", min=0, help="Held-out problems.")] = 500
