"""The page's plan in Chromium: the same numbers as `rlscale plan`, controls, mouse and keys, narrow and dark pages."""

from __future__ import annotations

import csv
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import PROGRAM, Browser, open_browser
from support.fit_examples import pivot_points
from typer.testing import CliRunner

from flows.cli.main import build_app
from tasks.costs.step_cost import parse_budget

pytestmark = [pytest.mark.slow, pytest.mark.browser]
needs_browser = pytest.mark.skipif(PROGRAM is None, reason="Chromium is not installed")

# 20 questions: each budget with one GPU, price, target and number of problems after the other, then unseen sizes and a
# law whose curves are not straight.
BUDGETS = ("2000gpu-h", "30000usd", "1e21flop", "3gpu-h", "1e6usd")
CASES = list(itertools.islice(itertools.cycle(itertools.product(("h100", "b200"), (None, 4.25))), 10))
FLAVORS = {"seen": [], "unseen": ["--sizes", "1.5B,7B,72B,140B"], "curved": ["--law", "sigmoid"]}


def run(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(), ["plan", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, points = tmp_path_factory.mktemp("plan") / "points.csv", pivot_points(noise=0.01, effect=0.01, runs=2)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["n_params", "prompts", "loss", "run", "step"])
        columns = (points.n, points.resource, 10**points.y, points.run, points.step)
        writer.writerows(zip(*(column.tolist() for column in columns), strict=True))
    return path


@pytest.fixture(scope="module")
def pages(table: Path) -> dict[str, Path]:
    """A page of every flavor, with all draws of the command."""
    out = {name: table.with_name(f"{name}.html") for name in FLAVORS}
    for name, options in FLAVORS.items():
        run(str(table), "--budget", "2000gpu-h", "--draws", "100", *options, "--html", str(out[name]))
    return out


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


def questions(flavor: str) -> list[tuple[str, str, float | None, float | None, int | None]]:
    """Budget, GPU, price, target loss, problems."""
    both = zip(itertools.cycle(BUDGETS), CASES, strict=False)
    listed = [
        (budget, gpu, price, (None, 0.45, 0.6)[i % 3], (None, 54_000)[i % 2])
        for i, (budget, (gpu, price)) in enumerate(both)
    ]
    return listed if flavor == "seen" else listed[:5]


def ask_page(
    browser: Browser, budget: str, gpu: str, price: float | None, target: float | None, problems: int | None
) -> dict[str, Any]:
    """What the page's arithmetic says."""
    asked = json.dumps({**vars(parse_budget(budget)), "target": target, "problems": problems})
    return dict(
        browser.evaluate(
            f"""(() => {{
            const model = openModel(JSON.parse(document.getElementById("plan-data").textContent).plans[0]);
            const gpu = model.gpus.findIndex((gpu) => gpu.key === "{gpu}");
            const price = {json.dumps(price)} ?? model.gpus[gpu].usd_per_hour;
            const asked = {asked};
            return answerOf(model, {{ ...asked, budget: asked.amount, gpu, price }});
        }})()"""
        )
    )


@needs_browser
@pytest.mark.parametrize("flavor", FLAVORS)
def test_the_page_computes_what_the_command_does(
    browser: Browser, table: Path, pages: dict[str, Path], flavor: str
) -> None:
    browser.open(pages[flavor])
    for budget, gpu, price, target, problems in questions(flavor):
        named = {"--price": price, "--target-loss": target, "--problems": problems}
        options = [text for key, value in named.items() if value is not None for text in (key, str(value))]
        command = ["--budget", budget, "--gpu", gpu, "--draws", "100", *FLAVORS[flavor], *options, "--json"]
        expected = json.loads(run(str(table), *command))
        found = ask_page(browser, budget, gpu, price, target, problems)
        assert [row["size"] for row in found["options"]] == [row["size"] for row in expected["options"]]
        for mine, theirs in zip(found["options"], expected["options"], strict=True):
            assert mine["steps"] == theirs["steps"]
            assert mine["gpus"] == theirs["cost"]["gpus"]
            flat = {**theirs, **theirs["cost"], "flops": theirs["cost"]["total_flops"]}
            for name in ("loss", "low", "high", "chance_best", "gpu_hours", "usd", "flops"):
                if flat[name] is None:
                    assert mine[name] is None
                else:
                    assert mine[name] == pytest.approx(flat[name], rel=5e-4, abs=1e-9), (budget, mine["size"], name)
        assert len(found["targets"]) == len(expected["targets"])
        for mine, theirs in zip(found["targets"], expected["targets"], strict=True):
            assert mine["size"] == theirs["size"]
            for name in ("steps", "steps_80"):
                assert (mine[name] is None) == (theirs[name] is None)
                assert mine[name] is None or mine[name] == pytest.approx(theirs[name], rel=5e-4, abs=1)
        if problems is not None:
            assert found["reuse"]["tau"] == pytest.approx(expected["reuse"]["tau"])
            assert found["reuse"]["enough"] == expected["reuse"]["enough"]


def shown(browser: Browser) -> list[list[str | None]]:
    """Numbers behind the cells of the table of sizes."""
    return list(
        browser.evaluate(
            """[...document.querySelectorAll("[data-options] tbody tr")].map((row) =>
            [row.cells[0].textContent, ...[...row.cells].slice(1).map((cell) => cell.dataset.value ?? null)])"""
        )
    )


@needs_browser
def test_an_address_holds_a_question_and_controls_change_it(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["seen"], "#plan?budget=30000&unit=usd&gpu=b200&target=0.5")
    asked = ask_page(browser, "30000usd", "b200", None, 0.5, None)
    expected = [[row["size"], row["steps"]] for row in asked["options"]]
    assert [[row[0], int(row[4] or -1)] for row in shown(browser)] == expected
    assert browser.evaluate("document.querySelector('[data-targets]').hidden") is False
    browser.evaluate("document.querySelector('[name=budget]').select()")
    browser.evaluate("document.querySelector('[name=budget]').focus()")
    browser.call("Input.insertText", text="60000")
    asked = ask_page(browser, "60000usd", "b200", None, 0.5, None)
    assert [int(row[4] or -1) for row in shown(browser)] == [row["steps"] for row in asked["options"]]
    assert "budget=60000" in browser.evaluate("location.hash")
    browser.call("Input.insertText", text="x")
    assert browser.evaluate("document.querySelector('[name=budget]').getAttribute('aria-invalid')") == "true"
    assert "no number" in browser.evaluate("document.querySelector('[data-answer]').textContent")


@needs_browser
def test_the_chart_answers_to_mouse_and_keys(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["seen"], "#plan?budget=200&unit=gpu-h")
    tip = "document.querySelector('[data-tip]').textContent"
    place = browser.evaluate(
        """(() => { const chart = document.querySelector("[data-chart] svg"); chart.scrollIntoView({ block: "center" });
        const box = chart.querySelector("circle").getBoundingClientRect(); return [box.x + 2, box.y + 2]; })()"""
    )
    browser.move(*place)
    assert "run " in browser.evaluate(tip)
    assert "measured loss" in browser.evaluate(tip)
    browser.evaluate("document.querySelector('[data-chart] svg').focus()")
    browser.press("ArrowRight")
    first = browser.evaluate(tip)
    assert "95 %" in first
    browser.press("ArrowRight")
    assert browser.evaluate(tip) != first
    lines = "document.querySelectorAll('[data-chart] .line').length"
    before = browser.evaluate(lines)
    browser.evaluate("document.querySelector('[data-legend] button').focus()")
    browser.press(" ")
    assert browser.evaluate(lines) == before - 1
    assert browser.evaluate("document.querySelector('[data-legend] button').getAttribute('aria-pressed')") == "false"


@needs_browser
def test_every_control_has_a_name_and_a_phone_needs_no_sideways_scroll(
    browser: Browser, pages: dict[str, Path]
) -> None:
    browser.open(pages["seen"], width=390)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    unnamed = "[...document.querySelectorAll('form input, form select')].filter((field) => !field.labels.length).length"
    assert browser.evaluate(unnamed) == 0
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    names = {node["name"]["value"] for node in nodes if node.get("role", {}).get("value") in ("textbox", "combobox")}
    assert {name.split(" NVIDIA")[0] for name in names} >= {"Budget", "Unit", "GPU", "Target loss", "Problems at hand"}


@needs_browser
def test_without_scripts_the_answer_is_a_picture_and_a_table(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["seen"], scripts=False)
    text = browser.evaluate("document.body.innerText")
    assert "2 000" in text.replace("\u202f", " ")
    assert "72B" in text
    assert browser.evaluate("document.querySelector('[data-static] svg').getBoundingClientRect().height") > 100
    assert browser.evaluate("document.querySelector('[data-live]').getBoundingClientRect().height") == 0


@needs_browser
def test_pages_are_kept_as_pictures(browser: Browser, pages: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(os.environ.get("RLSCALE_SCREENSHOTS", tmp_path))
    folder.mkdir(parents=True, exist_ok=True)
    for width, dark in ((1400, False), (1400, True), (390, False), (390, True)):
        browser.open(pages["seen"], "#plan?budget=500&unit=gpu-h&target=0.5", width, dark)
        picture = folder / f"plan_{width}_{'dark' if dark else 'light'}.png"
        browser.screenshot(picture)
        assert picture.stat().st_size > 20_000


def test_plan_page_is_refused_with_a_grid(repository: Path, tmp_path: Path) -> None:
    from tasks.study.errors import InputError

    with pytest.raises(InputError, match="--html shows what a budget buys"):
        run("--grid", str(repository / "params.yaml"), "--html", str(tmp_path / "page.html"))
