"""`rlscale evaluate`: the stage, or some policies and benchmarks with a chosen engine or a running server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import DEFAULT_PARAMS, JsonOption, ParamsOption, print_json, print_table, progress_output

if TYPE_CHECKING:
    from pathlib import Path

    from tasks.evaluate.run import EvaluationRequest
    from tasks.records.scores import Score


def evaluate(
    run_id: Annotated[
        str | None,
        typer.Argument(help="A run id, its unambiguous beginning, or initial-<model>. Absent: the whole stage."),
    ] = None,
    params: ParamsOption = DEFAULT_PARAMS,
    engine: Annotated[
        str | None, typer.Option(help="transformers or vllm, instead of the params' evaluate.engine.")
    ] = None,
    benchmarks: Annotated[
        str | None, typer.Option(help="Names separated by commas; heldout is the held-out set. Absent: all.")
    ] = None,
    server: Annotated[
        str | None,
        typer.Option(help="URL of an OpenAI-compatible vLLM server; its token is read from RLSCALE_SERVER_TOKEN."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Scores policies on the held-out set and the benchmarks.

    Scores by another engine than the study's own are kept below data/evaluate/other_engines/.
    """
    if run_id is None and engine is None and benchmarks is None and server is None:
        _whole_stage(params, as_json)
        return
    from flows.cli.extras import require_study
    from tasks.evaluate.requests import make_requests
    from tasks.study.params import load_params

    require_study()
    names = [name.strip() for name in (benchmarks or "").split(",") if name.strip()]
    orders = make_requests(load_params(params), run_id, engine, names, server)
    _run(orders)
    _show(_read(orders), as_json)


def _whole_stage(params_file: Path, as_json: bool) -> None:
    from flows.cli.stage_runner import run_stage
    from tasks.records.scores import read_scores
    from tasks.study.params import load_params
    from tasks.study.paths import StudyPaths

    with progress_output(as_json):
        run_stage("evaluate", params_file)
    if as_json:
        _show(read_scores(StudyPaths.of(load_params(params_file)).scores), as_json)


def _run(orders: list[EvaluationRequest]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tasks.evaluate.launch import EvaluationLauncher

    with EvaluationLauncher(orders[0].params) as launcher, ThreadPoolExecutor(launcher.slots) as threads:
        for done in [threads.submit(launcher.run, order) for order in orders]:
            done.result()


def _read(orders: list[EvaluationRequest]) -> list[Score]:
    from tasks.records.scores import read_score
    from tasks.study.paths import StudyPaths

    return [
        read_score(StudyPaths.of(order.params).score(policy, name, order.root))
        for order in orders
        for policy in order.policies
        for name in order.benchmarks
    ]


def _show(scores: list[Score], as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print_json([asdict(score) for score in scores])
        return
    columns = ("policy", "benchmark", "pass@1 %", "95 % interval", "lenient %", "length", "cut %", "tokens/s")
    print_table("scores", columns, [_row(score) for score in scores])


def _row(score: Score) -> tuple[str, ...]:
    interval = f"{100 * score.low:.1f} .. {100 * score.high:.1f}"
    lenient = "-" if score.pass_at_1_lenient is None else f"{100 * score.pass_at_1_lenient:.1f}"
    rates = f"{100 * score.pass_at_1:.1f}", interval, lenient
    lengths = f"{score.mean_length:.1f}", f"{100 * score.truncated:.1f}", f"{score.tokens_per_second:.0f}"
    return (score.run_id, score.benchmark, *rates, *lengths)
