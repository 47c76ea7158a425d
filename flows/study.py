"""Flow of a whole study: the six stages in order."""

from __future__ import annotations

from pathlib import Path

from prefect import flow

from flows.evaluate import evaluate
from flows.fit import fit
from flows.prepare import prepare
from flows.pretrain import pretrain
from flows.report import report
from flows.train import train


@flow(name="study")
def study(params_file: Path = Path("params.yaml")) -> Path:
    """Runs prepare, pretrain, train, evaluate, fit and report, each doing only what its folders do not prove done."""
    prepare(params_file)
    pretrain(params_file)
    train(params_file)
    evaluate(params_file)
    fit(params_file)
    return report(params_file)
