"""`rlscale evaluate`: the stage, or some policies and benchmarks with a chosen engine or a running server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tasks.evaluate.session import Order
    from tasks.records import Score

Params_ = Annotated[Path, typer.Option("--params", help="Params file of the study.")]


def register(app: typer.Typer) -> None:
    """Adds the command."""

    @app.command()
    def evaluate(
        run_id: Annotated[
            str | None,
            typer.Argument(help="A run id, its unambiguous beginning, or initial-<model>. Absent: the whole stage."),
        ] = None,
        params: Params_ = Path("params.yaml"),
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
        as_json: Annotated[bool, typer.Option("--json", help="Print the scores as JSON.")] = False,
    ) -> None:
        """Scores policies on the held-out set and the benchmarks.

        Scores by another engine than the study's own are kept below data/evaluate/other_engines/.
        """
        if run_id is None and engine is None and benchmarks is None and server is None:
            _whole_stage(params, as_json)
            return
        from tasks.evaluate.selection import make_orders
        from tasks.params import load_params

        names = [name.strip() for name in (benchmarks or "").split(",") if name.strip()]
        orders = make_orders(load_params(params), run_id, engine, names, server)
        _run(orders)
        _show(_read(orders), as_json)


def _whole_stage(params_file: Path, as_json: bool) -> None:
    from flows.run import run_stage
    from tasks.layout import Layout
    from tasks.params import load_params
    from tasks.records import read_scores

    run_stage("evaluate", params_file)
    if as_json:
        _show(read_scores(Layout.of(load_params(params_file)).scores), as_json)


def _run(orders: list[Order]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tasks.evaluate.launch import Launcher

    with Launcher(orders[0].params) as launcher, ThreadPoolExecutor(launcher.slots) as threads:
        for done in [threads.submit(launcher.run, order) for order in orders]:
            done.result()


def _read(orders: list[Order]) -> list[Score]:
    from tasks.evaluate.collect import read_score
    from tasks.evaluate.subjects import folder_of

    return [
        read_score(folder_of(order.params, subject, name, order.root))
        for order in orders
        for subject in order.subjects
        for name in order.benchmarks
    ]


def _show(scores: list[Score], as_json: bool) -> None:
    from dataclasses import asdict

    if as_json:
        print(json.dumps([asdict(score) for score in scores], indent=1))
        return
    header = (
        f"{'policy':<44} {'benchmark':<18} {'pass@1':>7} {'95 % interval':>16} {'length':>7} {'cut':>6} {'tok/s':>8}"
    )
    print(header)
    for score in scores:
        interval = f"{100 * score.low:.1f} .. {100 * score.high:.1f}"
        print(
            f"{score.run_id:<44} {score.benchmark:<18} {100 * score.pass_at_1:>6.1f}% {interval:>16} "
            f"{score.mean_length:>7.1f} {100 * score.truncated:>5.1f}% {score.tokens_per_second:>8.0f}"
        )
