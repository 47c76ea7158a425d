"""`rlscale ui`: MLflow's pages on the study's store."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from flows.cli.options import DEFAULT_PARAMS, ParamsOption


def ui(
    params: ParamsOption = DEFAULT_PARAMS,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port on this machine.")] = 5000,
) -> None:
    """Serve MLflow's pages on the study's store until Ctrl-C, and name the page of its runs."""
    from flows.cli.extras import require_study
    from tasks.runtime.tracking.store import experiment_id, store_uri
    from tasks.study.params import load_params

    require_study()
    loaded = load_params(params)
    uri = store_uri(loaded)
    address, experiment = f"http://127.0.0.1:{port}", experiment_id(loaded)
    if uri.startswith("http"):
        typer.echo(f"the study is published to a server: {uri}/{_RUNS.format(experiment)}")
        return
    typer.echo(f"runs, grouped charts: {address}/{_RUNS.format(experiment)}")
    # One process and no job execution: half a gigabyte instead of several.
    environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri, "--host", "127.0.0.1"]
    os.execve(sys.executable, [*command, "--port", str(port), "--workers", "1"], environment)


_RUNS = "#/experiments/{}/runs?workflowType=machine_learning&compareRunsMode=CHART"
"""MLflow opens an experiment on the overview of its tracing; this address opens the charts of its runs."""
