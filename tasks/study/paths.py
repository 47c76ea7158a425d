"""Where every artefact lies, as one class built from a data root; file names inside a stage are the stage's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.study.grid import Run
from tasks.study.params import Params

STAGE_INPUTS: dict[str, tuple[str, ...]] = {
    "prepare": (),
    "pretrain": ("prepare",),
    "train": ("prepare", "pretrain"),
    "evaluate": ("prepare", "pretrain", "train"),
    "fit": ("pretrain", "train"),
    "report": ("prepare", "pretrain", "evaluate", "fit"),
}
"""The stages in order, each with the stages whose results it reads. A test compares `dvc.yaml` with it."""

STAGES = tuple(STAGE_INPUTS)


@dataclass(frozen=True)
class StudyPaths:
    """The folders and files below one data root."""

    root: Path

    @classmethod
    def of(cls, params: Params) -> StudyPaths:
        """The layout of a study."""
        return cls(params.root)

    def stage(self, name: str) -> Path:
        """Folder of a stage; it holds the stage's manifest."""
        assert name in STAGES, name
        return self.root / name

    @property
    def train_problems(self) -> Path:
        """Training problems in curriculum order, at least steps x batch rows (all that were left are kept)."""
        return self.stage("prepare") / "train.parquet"

    def subset(self, tau: int) -> Path:
        """Training problems of a run with reuse factor tau: steps x batch / tau rows, in curriculum order."""
        return self.stage("prepare") / "reuse" / f"tau_{tau}.parquet"

    @property
    def heldout(self) -> Path:
        """Held-out problems."""
        return self.stage("prepare") / "heldout.parquet"

    def benchmark(self, name: str) -> Path:
        """Problems of a benchmark; `heldout` is the held-out set."""
        return self.heldout if name == "heldout" else self.stage("prepare") / "benchmarks" / f"{name}.parquet"

    def model(self, name: str) -> Path:
        """Folder of an initial checkpoint, `<size>-<variant>`, with its own manifest."""
        return self.stage("pretrain") / name

    def run(self, run: Run | str) -> Path:
        """Folder of a training run."""
        return self.stage("train") / (run if isinstance(run, str) else run.run_id)

    def metrics(self, run: Run | str) -> Path:
        """One `StepMetrics` row per line, step 0 first."""
        return self.run(run) / "metrics.jsonl"

    def final(self, run: Run | str) -> Path:
        """The trained policy, as an ordinary transformers checkpoint."""
        return self.run(run) / "final"

    def checkpoints(self, run: Run | str) -> Path:
        """Resumable training checkpoints, `step-000050/` and so on."""
        return self.run(run) / "checkpoints"

    def samples(self, run: Run | str, benchmark: str) -> Path:
        """Graded samples of a run on a benchmark, in a folder of their own with its manifest and `score.json`."""
        name = run if isinstance(run, str) else run.run_id
        return self.stage("evaluate") / name / benchmark / "samples.parquet"

    @property
    def scores(self) -> Path:
        """One row per run and benchmark."""
        return self.stage("evaluate") / "scores.parquet"

    @property
    def report(self) -> Path:
        """The page a person opens."""
        return self.stage("report") / "index.html"

    @property
    def tracking(self) -> Path:
        """The default MLflow store."""
        return self.root / "mlflow.db"
