"""`rlscale sync`: shows a study in an MLflow store."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import DEFAULT_PARAMS, JsonOption, ParamsOption, print_json, progress_output


def sync(
    params: ParamsOption = DEFAULT_PARAMS,
    uri: Annotated[str | None, typer.Option("--uri", help="MLflow store; default: the study's own.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Replay the study's folders into an MLflow store, new or not; what is already there stays as it is."""
    from flows.cli.extras import require_study
    from tasks.runtime.prefect_options import StageFailed
    from tasks.runtime.tracking.publishing import one_line
    from tasks.runtime.tracking.publishing import sync as replay
    from tasks.runtime.tracking.store import store_uri
    from tasks.study.params import load_params

    require_study()
    loaded = load_params(params)
    store = uri or store_uri(loaded)
    try:
        with progress_output(as_json):
            added = replay(loaded, uri)
    except Exception as error:  # whatever a store can raise, when it is refused, locked or full
        if as_json:
            print_json({"uri": store, "error": one_line(error)})
        raise StageFailed(f"not published to {store}: {one_line(error)}") from error
    if as_json:
        print_json(added | {"uri": store})
    else:
        typer.echo(f"{added['runs']} runs in {store}, {added['rows']} rows added")
