"""`rlscale sync`: shows a study in an MLflow store."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import DEFAULT_PARAMS, JsonOption, ParamsOption, print_json


def sync(
    params: ParamsOption = DEFAULT_PARAMS,
    uri: Annotated[str | None, typer.Option("--uri", help="MLflow store; default: the study's own.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay the study's folders into an MLflow store, new or not; what is already there stays as it is."""
    from flows.cli.extras import require_study
    from tasks.runtime.mlflow_tracking import store_uri
    from tasks.runtime.mlflow_tracking import sync as replay
    from tasks.study.params import load_params

    require_study()
    loaded = load_params(params)
    added = replay(loaded, uri)
    store = uri or store_uri(loaded)
    if as_json:
        print_json(added | {"uri": store})
    else:
        typer.echo(f"{added['runs']} runs in {store}, {added['rows']} rows added")
