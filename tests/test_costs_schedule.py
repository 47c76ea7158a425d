"""When a study's runs are done on a cluster: list scheduling against its bounds, and the command."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import REPOSITORY

from flows.cli import main as cli
from tasks.costs.schedule import Work, schedule
from tasks.study.errors import InputError

RUNS = st.lists(
    st.builds(
        Work,
        st.just("run"),
        st.sampled_from([1, 2, 4, 8]),
        st.floats(0.1, 50),
        st.floats(2, 9),
        st.floats(0, 2),
    ),
    min_size=1,
    max_size=25,
)


def test_three_runs_by_hand() -> None:
    work = [Work("short", 4, 1.0, 3.0, 1.0), Work("long", 8, 2.0, 5.0, 1.0), Work("half", 4, 2.0, 3.0, 1.0)]
    found = schedule(work, 8)
    assert [(run.name, run.start, run.end) for run in found.runs] == [("long", 0, 2), ("half", 2, 4), ("short", 2, 3)]
    assert (found.hours, found.gpu_hours, found.used) == (4, 28, 28 / 32)
    assert (found.disk, found.kept) == (1 + 3 + 3, 3)


@settings(max_examples=60, deadline=None)
@given(RUNS, st.sampled_from([8, 12, 32]), st.sampled_from([None, 1, 3]))
def test_no_schedule_beats_the_bounds_and_none_overbooks(work: list[Work], gpus: int, workers: int | None) -> None:
    found = schedule(work, gpus, workers)
    area, longest = sum(one.gpus * one.hours for one in work) / gpus, max(one.hours for one in work)
    assert found.hours >= max(area, longest) - 1e-9
    assert len(found.runs) == len(work)
    for run in found.runs:
        beside = [other for other in found.runs if other.start <= run.start < other.end]
        assert sum(other.gpus for other in beside) <= gpus
        assert workers is None or len(beside) <= workers
    if workers is None and all(one.gpus == work[0].gpus for one in work) and gpus % work[0].gpus == 0:
        assert found.hours <= area + longest + 1e-9  # Graham's bound for equal machines


def test_a_run_that_needs_more_than_there_is_is_named() -> None:
    with pytest.raises(InputError, match="--gpus 4: run large needs 8 GPUs"):
        schedule([Work("large", 8, 1.0)], 4)


def test_more_gpus_end_the_published_study_sooner(capsys: pytest.CaptureFixture[str]) -> None:
    hours = []
    for gpus in ("32", "128"):
        command = ["plan", "--grid", str(REPOSITORY / "params.paper.yaml"), "--gpus", gpus, "--json"]
        with pytest.raises(SystemExit) as end:
            cli.main(command)
        assert end.value.code == 0
        found = json.loads(capsys.readouterr().out)
        assert found["schedule"]["gpu_hours"] == pytest.approx(found["gpu_hours"])
        hours.append(found["schedule"]["hours"])
    assert hours[1] < hours[0] / 2
    with pytest.raises(SystemExit) as end:
        cli.main(["plan", "--gpus", "128", "--budget", "1usd"])
    assert end.value.code == 2
    assert "--gpus is for --grid" in capsys.readouterr().err
