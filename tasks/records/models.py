"""`ModelRecord`, an entry of the model family in the manifest of `data/pretrain/`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.study.errors import InputError
from tasks.study.manifests import read_manifest

if TYPE_CHECKING:
    pass


@dataclass(frozen=True)
class ModelRecord:
    """A model of the family.

    Attributes:
        name: `<size>-<variant>`.
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
