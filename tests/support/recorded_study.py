"""A study whose runs have metrics and manifests but no models: enough for the tracker and for the state of a study."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from support import REPOSITORY
from tasks.records.metrics import StepMetrics
from tasks.study.fingerprints import run_fingerprint
from tasks.study.grid import Run, expand_grid
from tasks.study.manifests import write_json, write_manifest, write_text
from tasks.study.params import Params, load_params
from tasks.study.paths import StudyPaths

STARTED_AT = 1_700_000_000.0
"""Unix seconds at which every recorded run began."""


def make_recorded_study(root: Path, steps: int = 4, **tracking: object) -> Params:
    """The shipped small study with every run recorded over `steps` steps; `tracking` changes that block."""
    raw = yaml.safe_load((REPOSITORY / "params.small.yaml").read_text())
    raw["study"]["data_root"] = "data"
    raw["tracking"] |= tracking
    path = root / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    params = load_params(path)
    layout = StudyPaths.of(params)
    write_text(layout.train_problems, "problems")
    write_text(layout.subset(2), "fewer problems")
    names = ["train.parquet", "reuse/tau_2.parquet"]
    write_manifest(layout.stage("prepare"), "prepare", "0", names, {})
    for run in expand_grid(params):
        record_run(params, run, steps)
    return params


def record_run(params: Params, run: Run, steps: int, done: bool = True, offset: float = 0.0) -> None:
    """Writes a run's rows, and its manifest where it is done; `offset` shifts the loss."""
    layout = StudyPaths.of(params)
    rows = [_row(step, 0.9 - 0.1 * step + offset) for step in range(steps + 1)]
    write_text(layout.metrics(run), "".join(row.line() for row in rows))
    write_json(layout.run(run) / "params.json", {"size": run.size})
    if done:
        facts = {"content": f"{run.run_id} {offset}"}
        write_manifest(layout.run(run), "train", run_fingerprint(params, run), ["metrics.jsonl", "params.json"], facts)


def forget_run(params: Params, run: Run) -> None:
    """Removes a run's folder."""
    shutil.rmtree(StudyPaths.of(params).run(run))


def _row(step: int, loss: float) -> StepMetrics:
    if step == 0:
        return StepMetrics(step=0, test_loss=loss, seconds={"evaluation": 0.5}, written_at=STARTED_AT + 0.5)
    return StepMetrics(
        step=step,
        data=16 * step,
        tokens=1000 * step,
        compute=1e6 * step,
        reward_mean=0.1 * step,
        test_loss=loss,
        kl=0.01,
        flops={"update": 10.0},
        seconds={"rollout": 1.0, "update": 1.0},
        written_at=STARTED_AT + 0.5 + 2 * step,
    )
