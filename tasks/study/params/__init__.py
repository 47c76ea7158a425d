"""The params files, as frozen models; the only reader of `params.yaml` and its siblings.

One file describes one study. Each block carries the name of the stage it belongs to (`study`, `grid`, `tracking` and
`hardware` are the blocks that belong to none). Everything that changes a result is in it and nothing is left to a
library's default; what must not change a result (worker counts, token budgets, devices) stands in `hardware`, which
no fingerprint and no run id ever sees. Unknown keys, wrong types and impossible values raise `InputError` with one
sentence that names the file and the key.
"""

from tasks.study.params.block import ConfigBlock, Fraction, Name, Variant
from tasks.study.params.hardware import Hardware, SizedHardware, Tracking, VllmHardware
from tasks.study.params.models import HubFamily, HubModel, Pretrain, SupervisedStage, TinyFamily, TinyModel
from tasks.study.params.params import Evaluate, Fit, Grid, GroupAxis, Params, Report, ReuseAxis, RunsEntry, Study
from tasks.study.params.problems import ArithmeticSource, Benchmark, Cleaning, FileSource, HubSource, Prepare
from tasks.study.params.reader import load_params, make_params
from tasks.study.params.training import (
    Checkpoints,
    HeldoutEvaluation,
    Lora,
    Objective,
    Optimizer,
    PromptStyle,
    Sampling,
    Stopping,
    Train,
)

__all__ = [
    "ArithmeticSource",
    "Benchmark",
    "Checkpoints",
    "Cleaning",
    "ConfigBlock",
    "Evaluate",
    "FileSource",
    "Fit",
    "Fraction",
    "Grid",
    "GroupAxis",
    "Hardware",
    "HeldoutEvaluation",
    "HubFamily",
    "HubModel",
    "HubSource",
    "Lora",
    "Name",
    "Objective",
    "Optimizer",
    "Params",
    "Prepare",
    "Pretrain",
    "PromptStyle",
    "Report",
    "ReuseAxis",
    "RunsEntry",
    "Sampling",
    "SizedHardware",
    "Stopping",
    "Study",
    "SupervisedStage",
    "TinyFamily",
    "TinyModel",
    "Tracking",
    "Train",
    "Variant",
    "VllmHardware",
    "load_params",
    "make_params",
]
