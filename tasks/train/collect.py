"""The train stage's own manifest: one entry per run of the grid, from the runs' manifests, never from a glob."""

from __future__ import annotations

from typing import Any

from tasks.errors import InputError
from tasks.grid import expand_grid
from tasks.layout import Layout
from tasks.params import Params
from tasks.state import stage_mark
from tasks.store import digest_text, once, read_manifest

KEPT = (
    "run_id",
    "size",
    "variant",
    "seed",
    "tau",
    "group_size",
    "n_params",
    "nominal",
    "steps",
    "test_loss",
    "compute",
)


def collect(params: Params) -> dict[str, Any]:
    """Writes `data/train/manifest.json` and returns it.

    Raises:
        InputError: a run of the grid has not finished.
    """
    layout = Layout.of(params)

    def body() -> tuple[list[str], dict[str, Any]]:
        manifests = []
        for run in expand_grid(params):
            manifest = read_manifest(layout.run(run))
            if manifest is None:
                raise InputError(f"{layout.run(run)}: the run has not finished; run `rlscale train` first")
            manifests.append(manifest)
        content = digest_text("\n".join(str(manifest["content"]) for manifest in manifests))
        return [], {"runs": [{key: manifest[key] for key in KEPT} for manifest in manifests], "content": content}

    return once(layout.stage("train"), "train", stage_mark(params, "train"), body)[0]
