"""`rlscale verify`: every byte of a study against its manifests."""

from __future__ import annotations

import typer

from flows.cli.options import DEFAULT_PARAMS, JsonOption, ParamsOption, print_json


def verify(params: ParamsOption = DEFAULT_PARAMS, as_json: JsonOption = False) -> None:
    """Compare every file of the study with the digest in its manifest; exit code 1 where one differs."""
    from tasks.study.manifests import MANIFEST
    from tasks.study.manifests import verify as damaged_files
    from tasks.study.params import load_params
    from tasks.study.paths import STAGES

    loaded = load_params(params)
    # The stages' folders only: a tracker's store beside them holds copies of manifests without their files.
    folders = sorted(path.parent for stage in STAGES for path in (loaded.root / stage).rglob(MANIFEST))
    damaged = {str(folder.relative_to(loaded.root)): names for folder in folders if (names := damaged_files(folder))}
    if as_json:
        print_json({"folders": len(folders), "damaged": damaged})
    else:
        for folder, names in damaged.items():
            typer.echo(f"{folder}: missing or changed: {', '.join(names)}")
        typer.echo(f"{len(folders)} folders with a manifest, {len(damaged)} damaged")
    raise typer.Exit(1 if damaged else 0)
