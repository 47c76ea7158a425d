"""Where every artifact lies, as one class built from a data root.

The files of `data/fit/` and `data/report/` are named by their records (`tasks.records.json_files`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.study.grid import Run
from tasks.study.params import Params
from tasks.study.policies import HELDOUT, StudyPolicy

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
        """The paths of a study."""
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
        return self.heldout if name == HELDOUT else self.stage("prepare") / "benchmarks" / f"{name}.parquet"

    def model(self, name: str) -> Path:
        """Folder of an initial checkpoint, with its own manifest."""
        return self.stage("pretrain") / name

    def run(self, run: Run) -> Path:
        """Folder of a training run."""
        return self.stage("train") / run.run_id

    def metrics(self, run: Run) -> Path:
        """One `StepMetrics` row per line, step 0 first."""
        return self.run(run) / "metrics.jsonl"

    def run_progress(self, run: Run) -> Path:
        """What a run is doing now; there while it trains."""
        return self.run(run) / "progress.json"

    def run_params(self, run: Run) -> Path:
        """The params a run was trained with."""
        return self.run(run) / "params.json"

    def final(self, run: Run) -> Path:
        """The trained policy, as an ordinary transformers checkpoint."""
        return self.run(run) / "final"

    def checkpoints(self, run: Run) -> Path:
        """Resumable training checkpoints, `step-000050/` and so on."""
        return self.run(run) / "checkpoints"

    def policy(self, policy: StudyPolicy) -> Path:
        """Folder, with its manifest, of the run or the initial model that a policy comes from."""
        return self.model(policy.model) if policy.run is None else self.run(policy.run)

    def evaluation(self, policy: StudyPolicy, benchmark: str, root: Path | None = None) -> Path:
        """Folder of a policy's evaluation on a benchmark; `root` instead of `data/evaluate/` for another engine's."""
        return (root or self.stage("evaluate")) / policy.name / benchmark

    def samples(self, policy: StudyPolicy, benchmark: str, root: Path | None = None) -> Path:
        """Graded samples of an evaluation."""
        return self.evaluation(policy, benchmark, root) / "samples.parquet"

    def score(self, policy: StudyPolicy, benchmark: str, root: Path | None = None) -> Path:
        """What the samples add up to, one `Score`."""
        return self.evaluation(policy, benchmark, root) / "score.json"

    @property
    def scores(self) -> Path:
        """One row per policy and benchmark."""
        return self.stage("evaluate") / "scores.parquet"

    @property
    def report(self) -> Path:
        """The page a person opens."""
        return self.stage("report") / "index.html"

    @property
    def tracking(self) -> Path:
        """The default MLflow store."""
        return self.root / "mlflow.db"
