"""`rlscale report`: the stage that writes the page, and where it lies."""

from __future__ import annotations

import typer

from flows.cli.options import DEFAULT_PARAMS, JsonOption, ParamsOption, print_json, progress_output


def report(params: ParamsOption = DEFAULT_PARAMS, as_json: JsonOption = False) -> None:
    """Write the page that shows the study's laws, curves and verdicts."""
    import json

    from flows.cli.stage_runner import run_stage
    from tasks.study.params import load_params
    from tasks.study.paths import StudyPaths

    with progress_output(as_json):
        run_stage("report", params)
    page = StudyPaths.of(load_params(params)).report
    if as_json:
        summary = json.loads(page.with_name("summary.json").read_text(encoding="utf-8"))
        print_json(summary | {"report": str(page)})
    else:
        typer.echo(f"report: {page}")
