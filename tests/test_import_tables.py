"""Awkward tables: what is read, what is said of it, and what is asked. `CLEAN` holds the points that each must give."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest

from flows.cli.main import main
from tasks.fit.data.columns import Columns, resolve
from tasks.fit.data.groups import groups_of
from tasks.fit.data.measurements import Measurements
from tasks.fit.data.sources import read_sources
from tasks.imports import text_files
from tasks.imports.metric_choice import Scale
from tasks.imports.points import ImportOptions
from tasks.study.errors import InputError

ROWS = [(n, s, 6e12 * n / 1e9 * s, round(0.8 - 0.05 * s - n / 1e11, 4)) for n in (5e8, 7e9) for s in (1, 2, 3, 4)]
CLEAN = "params,step,compute,loss\n" + "".join(f"{n:g},{s},{x!r},{loss}\n" for n, s, x, loss in ROWS)


def load(path: Path, **columns: object) -> Measurements:
    named = Columns(**columns)  # type: ignore[arg-type]
    table, _ = read_sources([path], named.log)
    (points,) = groups_of(table, resolve(table, named)[0]).values()
    return points


def table(header: str, row: str = "{n:g},{s},{x!r},{loss}") -> str:
    return "\n".join([header, *(row.format(n=n, s=s, x=x, loss=loss) for n, s, x, loss in ROWS)]) + "\n"


AWKWARD: dict[str, str | bytes] = {
    "semicolons": CLEAN.replace(",", ";"),
    "tabs": CLEAN.replace(",", "\t"),
    "bars": CLEAN.replace(",", "|"),
    "decimal commas": CLEAN.replace(",", ";").replace(".", ","),
    "thousands separators": table("params,step,compute,loss", '"{n:,.0f}",{s},"{x:,.0f}",{loss}'),
    "a byte-order mark": b"\xef\xbb\xbf" + CLEAN.encode(),
    "UTF-16": CLEAN.encode("utf-16"),
    "Latin-1": ("# Gr\u00f6\u00dfe\n" + CLEAN).encode("latin-1"),
    "Windows line ends": CLEAN.replace("\n", "\r\n"),
    "comment lines": "# made by hand\n" + CLEAN.replace("\n5e+08,3", "\n# a resume\n5e+08,3"),
    "empty lines": CLEAN.replace("\n", "\n\n"),
    "trailing separators": CLEAN.replace("\n", ",\n"),
    "trailing separators in the rows alone": CLEAN.replace("\n", ",\n").replace("loss,\n", "loss\n", 1),
    "spaces around names": CLEAN.replace("params,step,compute,loss", " params , step , compute , loss "),
    "no line end at the end": CLEAN.rstrip("\n"),
    "an index column": table(",params,step,compute,loss", "{s},{n:g},{s},{x!r},{loss}"),
    "unsorted rows": "params,step,compute,loss\n" + "\n".join(sorted(CLEAN.splitlines()[1:], reverse=True)),
    "gzip": gzip.compress(CLEAN.encode()),
    "other case": table("Params,Step,Compute,Loss"),
    "sizes with letters": CLEAN.replace("5e+08", "0.5B").replace("7e+09", "7b"),
    "sizes written out": CLEAN.replace("5e+08", "500000000").replace("7e+09", "7000000000"),
    "model_size": table("model_size,step,compute,loss"),
    "Model Size": table("Model Size,step,compute,loss"),
    "parameter_count and a family": table("model,parameter_count,step,compute,loss", "qwen,{n:g},{s},{x!r},{loss}"),
    "flops and global_step": table("params,global_step,flops,test_loss"),
    "C and _step": table("N,_step,C,L"),
    "an accuracy": table("params,step,compute,accuracy"),
    "rows without an evaluation": CLEAN + "7e9,5,1e14,\n7e9,6,1e14,nan\n7e9,7,1e14,NA\n",
    "a trainer's loss beside the accuracy": table("params,step,compute,loss,acc", "{n:g},{s},{x!r},-0.01,{loss}"),
    "a column benchmark": table("benchmark,params,step,compute,loss", "gsm8k,{n:g},{s},{x!r},{loss}"),
    "JSON lines": "".join(
        json.dumps({"params": n, "step": s, "compute": x, "test_loss": loss}) + "\n" for n, s, x, loss in ROWS
    ),
    "a JSON array": json.dumps(
        [{"params": n, "step": s, "compute": x, "test_loss": loss} for n, s, x, loss in ROWS], indent=1
    ),
    "JSON columns": json.dumps(dict(zip(("params", "step", "compute", "loss"), zip(*ROWS, strict=True), strict=True))),
    "spaces between columns": CLEAN.replace(",", "  "),
    "Markdown": table("| params | step | compute | loss |\n|---|:-:|---|--:|", "| {n:g} | {s} | {x!r} | {loss} |"),
    "percent signs": "params,step,compute,loss\n"
    + "".join(f"{n:g},{s},{x!r},{100 * v:.2f} %\n" for n, s, x, v in ROWS),
    "sizes with spaces": CLEAN.replace("5e+08", "0.5 B").replace("7e+09", "7 B"),
    "whole steps as floats": table("params,step,compute,loss", "{n:g},{s}.0,{x!r},{loss}"),
}
SHARES = ("an accuracy", "a trainer's loss beside the accuracy")


@pytest.mark.parametrize("kind", AWKWARD)
def test_an_awkward_table_gives_the_points_of_the_clean_one(tmp_path: Path, kind: str) -> None:
    content = AWKWARD[kind]
    path = tmp_path / "points.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    points = load(path)
    expected = [1 - loss if kind in SHARES else loss for _, _, _, loss in ROWS]
    np.testing.assert_array_equal(points.n, [n for n, *_ in ROWS])
    np.testing.assert_array_equal(points.step, [s for _, s, *_ in ROWS])
    np.testing.assert_allclose(points.resource, [x for _, _, x, _ in ROWS], rtol=1e-9)
    np.testing.assert_allclose(points.loss, expected, rtol=1e-12)


def test_a_table_from_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipe:
        buffer = io.BytesIO(CLEAN.encode())

    text_files._stdin_bytes.cache_clear()
    monkeypatch.setattr("sys.stdin", Pipe)
    assert len(load(Path("-"))) == len(ROWS)
    text_files._stdin_bytes.cache_clear()


def test_files_of_one_layout_are_read_together(tmp_path: Path) -> None:
    header, *lines = CLEAN.splitlines()
    paths = [tmp_path / "small.csv", tmp_path / "large.csv"]
    for path, part in zip(paths, (lines[:4], lines[4:]), strict=True):
        path.write_text("\n".join([header, *part]))
    joined, _ = read_sources(paths, ImportOptions())
    assert len(groups_of(joined, resolve(joined, Columns())[0])["all"]) == len(ROWS)
    paths[1].write_text(CLEAN.replace("compute", "flops"))
    with pytest.raises(InputError, match=r"large.csv: its columns differ from those of .*small.csv \(compute, flops\)"):
        read_sources(paths, ImportOptions())


QUESTIONS: dict[str, tuple[str, str]] = {
    "sizes in billions": (CLEAN.replace("5e+08", "0.5").replace("7e+09", "7"), "0.5, 7.*billions.*--n-unit 1e9"),
    "one size in other units": (CLEAN.replace("7e+09", "7"), r"sizes below 1,000 parameters \(7, 5e\+08|7"),
    "an accuracy called loss": (
        "params,step,compute,loss\n" + "".join(f"7e9,{s},{s}e15,0.{s}\n" for s in (1, 2, 3, 4)),
        "column loss rises with X at every size: .* --accuracy",
    ),
    "a loss above 1": (CLEAN.replace(",0.695", ",2.5"), "expected a loss in .0, 1., found 2.5; --divide NUMBER"),
    "a loss of 0": (CLEAN.replace(",0.695", ",0"), "expected a loss in .0, 1., found 0; --trials COLUMN"),
    "an accuracy in percent": (table("params,step,compute,acc").replace(",0.", ",70."), "acc is no share.*--percent"),
    "a column twice": (CLEAN.replace("step", "loss", 1), "the header names 'loss' twice"),
    "a negative resource": (CLEAN.replace(",6000000000000.0", ",-6e12"), "column compute: expected a positive number"),
    "two shares": (
        CLEAN.replace("loss", "gsm8k_acc").replace("step", "math_acc", 1),
        "math_acc or gsm8k_acc may be it",
    ),
    "names of models": (CLEAN.replace("params", "model").replace("7e+09", "Qwen2.5-7B"), "model may be it"),
    "one column": ("params:step:compute:loss\n1:2:3:4\n", "with one column the separator was not recognized"),
    "no rows": ("params,step,compute,loss\n", "no rows"),
    "nothing": ("", "empty; expected a header line and rows"),
    "no resource": (CLEAN.replace("step", "when", 1).replace("compute", "cost", 1), "no column for the resource X"),
    "1,234 between semicolons": (
        "params;step;compute;loss\n" + "".join(f"7e9;{s};1,23{s};0,{9 - s}\n" for s in (1, 2, 3)),
        "column compute: 1,231 may be a decimal number or thousands",
    ),
    "a size with two rows": (CLEAN + "3e9,1,1e15,0.5\n3e9,2,2e15,0.4\n", "size 3B .* has 2 points.*--without 3B"),
    "seeds that are not recognized": (CLEAN + CLEAN.partition("\n")[2], "line 10 repeats line 2 .*--run names"),
}


@pytest.mark.parametrize("kind", QUESTIONS)
def test_what_cannot_be_known_is_one_question(tmp_path: Path, kind: str) -> None:
    text, message = QUESTIONS[kind]
    path = tmp_path / "points.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        load(path)


def test_the_answers_to_the_questions_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(CLEAN.replace("5e+08", "0.5").replace("7e+09", "7"))
    assert load(path, n_unit=1e9).sizes.tolist() == [5e8, 7e9]
    path.write_text("params,step,compute,loss\n" + "".join(f"7e9,{s},{s}e15,0.{s}\n" for s in (1, 2, 3, 4)))
    points = load(path, log=ImportOptions(scale=Scale("accuracy")))
    assert points.loss.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.6])
    assert points.notes == ("loss = 1 - loss",)
    path.write_text("params,step,compute,loss\n" + "".join(f"7e9,{s},{s}e15,{5 - s}\n" for s in (1, 2, 3, 4)))
    assert load(path, log=ImportOptions(scale=Scale(divide=5.0))).loss.tolist() == [0.8, 0.6, 0.4, 0.2]
    path.write_text(CLEAN + "3e9,1,1e15,0.5\n")
    assert load(path, without=("3B",)).sizes.tolist() == [5e8, 7e9]
    with pytest.raises(InputError, match=r"no size '4B' \(--without\), found 500M, 3B, 7B"):
        load(path, without=("4B",))


def final_scores(folder: Path, sizes: int = 6) -> Path:
    """One final score of each run, at two budgets of every size, from L = 0.15 + 60/N^0.3 + 300/(X/1e12)^0.5."""
    path = folder / "final.csv"
    cells = [(n, n * 1e10 * factor) for n in np.geomspace(1e8, 1e10, sizes) for factor in (1.0, 8.0)]
    rows = [(n, x, 0.15 + 60 * n**-0.3 + 300 * (x / 1e12) ** -0.5) for n, x in cells]
    path.write_text("params,compute,loss\n" + "".join(f"{n:g},{x:g},{loss:.6f}\n" for n, x, loss in rows))
    return path


def test_final_scores_are_enough_for_a_law_that_all_sizes_share(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = final_scores(tmp_path)
    with pytest.raises(SystemExit):
        main(["fit", str(path)])
    assert "has 2 points, expected at least 3; --without 100M leaves it out, and --law" in capsys.readouterr().err
    answers = []
    for command in (["fit"], ["forecast", "--n", "3e10", "--x", "1e20"], ["plan", "--budget", "10gpu-h"]):
        with pytest.raises(SystemExit) as ended:
            main([command[0], str(path), *command[1:], "--law", "additive", "--json"])
        assert ended.value.code == 0
        answers.append(json.loads(capsys.readouterr().out))
    fit = answers[0][0]["fit"]
    found = {name: value["value"] for name, value in fit["coefficients"].items()}
    assert [found["E"], found["alpha"], found["beta"]] == pytest.approx([0.15, 0.3, 0.5], abs=2e-3)
    assert all(row["k_alone"] is None for row in fit["by_size"])
    assert answers[1]["loss"] == pytest.approx(0.15 + 60 * 3e10**-0.3 + 300 * 1e8**-0.5, abs=2e-3)


def test_fewer_points_than_parameters_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = final_scores(tmp_path, sizes=4)
    path.write_text("\n".join([*path.read_text().splitlines()[:8:2], "1e8,1e18,0.3"]) + "\n")
    with pytest.raises(SystemExit):
        main(["fit", str(path), "--law", "pivot"])
    assert "law pivot has 4 parameters, found no more than 4 points" in capsys.readouterr().err


def test_one_size_is_told_of_the_law_that_takes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "points.csv"
    path.write_text("\n".join(CLEAN.splitlines()[:5]) + "\n")
    with pytest.raises(SystemExit):
        main(["fit", str(path)])
    assert "needs at least 2 sizes, found 1; --law loglinear fits each size alone" in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["fit", str(path), "--law", "loglinear"])
    assert ended.value.code == 0


def test_a_named_column_may_hold_sizes_in_names(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(CLEAN.replace("params", "model").replace("5e+08", "Qwen2.5-0.5B-Instruct").replace("7e+09", "q7b"))
    assert load(path, n="model").sizes.tolist() == [5e8, 7e9]
    path.write_text(CLEAN.replace("params", "model").replace("5e+08", "Qwen2.5-0.5B-7B").replace("7e+09", "large"))
    with pytest.raises(InputError, match=r"line 2, column model: expected a number, found 'Qwen2\.5-0"):
        load(path, n="model")


def test_a_loss_of_zero_with_trials_is_corrected(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    rows = [f"7e9,{s},{s}e15,{loss},500\n" for s, loss in ((1, 0.4), (2, 0.2), (3, 0.0))]
    path.write_text("params,step,compute,loss,trials\n" + "".join(rows))
    points = load(path)
    assert points.loss.tolist() == [0.4, 0.2, 0.5 / 501]
    assert "1 losses of 0 become 0.5 / (trials + 1)" in points.notes


def test_runs_are_told_apart_with_their_size(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    rows = [
        f"{seed},{n:g},{s},{s}e15,{0.9 - s / 10 - seed / 100}\n"
        for seed in (0, 1)
        for n in (1e9, 7e9)
        for s in (1, 2, 3)
    ]
    path.write_text("seed,params,step,compute,loss\n" + "".join(rows))
    points = load(path)
    assert points.runs == ("seed 0@1B", "seed 0@7B", "seed 1@1B", "seed 1@7B")
    assert np.bincount(points.run).tolist() == [3, 3, 3, 3]
    path.write_text("runid,params,step,compute,loss\n" + "".join(rows))
    assert load(path).runs == ("0@1B", "0@7B", "1@1B", "1@7B")


def test_the_last_of_repeated_steps_counts_and_is_said(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    rows = [f"a,7e9,{s},{s}e15,{loss}\n" for s, loss in ((1, 0.9), (2, 0.8), (3, 0.7), (2, 0.75), (3, 0.65))]
    path.write_text("run,params,step,compute,loss\n" + "".join(rows))
    points = load(path)
    assert points.loss.tolist() == [0.9, 0.75, 0.65]
    assert points.notes == ("2 rows repeat the step of their run: the last one counts",)


def test_rows_of_other_axes_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    rows = [f"{n:g},{s},{s}e15,{0.9 - s / 10},{g},1\n" for n, g in ((1e9, 8), (2e9, 8), (7e9, 16)) for s in (1, 2, 3)]
    rows += [f"1e9,{s},{s}e15,0.5,8,4\n" for s in (4, 5)]
    path.write_text("params,step,compute,loss,group_size,tau\n" + "".join(rows))
    points = load(path)
    assert points.sizes.tolist() == [1e9, 2e9]
    assert points.notes == (
        "2 of 11 rows with another tau than 1 are left out",
        "3 of 9 rows with another group_size than 8 are left out",
    )


def test_steps_may_be_fractions(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("params,epoch,data,loss\n" + "".join(f"7e9,{s / 20},{s}e3,{0.9 - s / 10}\n" for s in (1, 2, 3)))
    points = load(path)
    assert points.step.tolist() == [1, 2, 3]
    assert not points.steps_known
    assert points.notes == ("epoch has fractions: the order of a run's points stands for its steps",)


def test_rows_without_a_size_are_left_out_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text(CLEAN + ",5,1e15,0.5\n")
    with pytest.raises(InputError, match="line 10, column params: expected a number, found ''"):
        load(path)
    points = load(path, drop_missing=True)
    assert len(points) == len(ROWS)
    assert points.notes == ("1 of 9 rows have no params and are left out",)


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def test_fit_of_a_wide_chart_equals_that_of_the_long_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes, steps = {"0.6b": (6e8, 0.05), "1.7b": (1.7e9, 0.08), "4b": (4e9, 0.12)}, range(10, 130, 10)
    share = {name: [round(1 - 1.2 * (s * 512) ** -k, 4) for s in steps] for name, (_, k) in sizes.items()}
    wide = "Step," + ",".join(sizes) + "\n"
    wide += "".join(f"{s},{','.join(str(share[name][i]) for name in sizes)}\n" for i, s in enumerate(steps))
    long = "run,params,step,data,loss\n" + "".join(
        f"{name},{n:g},{s},{s * 512},{1 - share[name][i]!r}\n"
        for name, (n, _) in sizes.items()
        for i, s in enumerate(steps)
    )
    (tmp_path / "wandb.csv").write_text(wide)
    (tmp_path / "long.csv").write_text(long)
    code, of_wide, said = run(capsys, "fit", str(tmp_path / "wandb.csv"), "--batch", "512", "--draws", "100", "--json")
    assert code == 0
    assert "N = 600M (name '0.6b'); loss = 1 - value" in said
    _, of_long, said = run(capsys, "fit", str(tmp_path / "long.csv"), "--draws", "100", "--json")
    assert said == ""
    assert of_wide == of_long


@pytest.mark.parametrize("resource", ["flops", "C", "samples", "D", "tokens", "step"])
def test_plan_takes_the_resources_that_fit_recognizes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], resource: str
) -> None:
    per_step = {"flops": 6e12, "C": 6e12, "samples": 512, "D": 512, "tokens": 1e6, "step": 1}[resource]
    header = "params,step,loss" if resource == "step" else f"params,step,{resource},loss"
    lines = []
    for n, k in ((1e9, 0.05), (3e9, 0.1), (7e9, 0.15)):
        for s in range(1, 13):
            x = s * per_step * (n / 1e9 if per_step == 6e12 else 1)
            lines.append(f"{n:g},{s},{'' if resource == 'step' else f'{x:g},'}{0.7 * s**-k:.4f}")
    path = tmp_path / "points.csv"
    path.write_text("\n".join([header, *lines]))
    code, _, err = run(capsys, "plan", str(path), "--budget", "100gpu-h")
    assert code == 0, err


def test_plan_without_steps_says_so_and_takes_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "points.csv"
    rows = [
        f"{n:g},{10 * s * 6 * n * 4096:g},{0.7 * s**-k:.4f}\n" for n, k in ((1e9, 0.1), (7e9, 0.2)) for s in (1, 2, 3)
    ]
    path.write_text("params,compute,loss\n" + "".join(rows))
    _, out, _ = run(capsys, "plan", str(path), "--budget", "1gpu-h")
    assert "the file has no steps: --steps-per-point" in out
    assert "1000 tokens per completion with its prompt, assumed" in out
    _, out, _ = run(capsys, "plan", str(path), "--budget", "1gpu-h", "--steps-per-point", "10")
    assert "so that a step has the 4.1e+03 tokens of the points" in out
