"""`ModelRecord`, an entry of the model family in the manifest of `data/pretrain/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tasks.study.errors import InputError
from tasks.study.manifests import read_manifest
from tasks.study.params import Params
from tasks.study.paths import StudyPaths
from tasks.study.policies import StudyPolicy


@dataclass(frozen=True)
class ModelRecord:
    """A model of the family.

    Attributes:
        name: as `tasks.study.grid.ModelName` writes it.
        size: name of the size.
        variant: base or instruct.
        path: folder of the checkpoint, relative to `data/pretrain/`, or absolute for a resolved hub snapshot.
        total: all parameters, tied embeddings counted once.
        n_params: non-embedding parameters, the N of the law.
        nominal: the published nominal size; for the miniature family equal to n_params.
        digest: SHA-256 that identifies the weights and tokenizer.
    """

    name: str
    size: str
    variant: str
    path: str
    total: int
    n_params: int
    nominal: float
    digest: str


def read_models(folder: Path) -> dict[str, ModelRecord]:
    """Returns the family by name, from the manifest of `data/pretrain/`.

    Raises:
        InputError: the stage has not finished.
    """
    manifest = read_manifest(folder)
    if manifest is None or "models" not in manifest:
        raise InputError(f"{folder}: no finished model family; run `rlscale pretrain` first")
    records = [ModelRecord(**entry) for entry in manifest["models"]]
    return {record.name: record for record in records}


def policy_checkpoint(params: Params, policy: StudyPolicy) -> Path:
    """Folder of a policy's weights and tokenizer.

    Raises:
        InputError: the model family has not been made or resolved yet.
    """
    paths = StudyPaths.of(params)
    if policy.run is not None:
        return paths.final(policy.run)
    return paths.stage("pretrain") / read_models(paths.stage("pretrain"))[policy.model].path
