"""Forecasts against what was measured: each size's final loss, forecast from the smaller sizes alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tasks.report.canvas import loss_axis, panels, svg_of
from tasks.report.evidence import Evidence
from tasks.report.palette import ink

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(evidence: Evidence) -> str | None:
    """Draws the `next_size` back-tests of the law chosen for unseen sizes; None where there are none."""
    cells = [(choice, _tests(evidence, choice)) for choice in evidence.tests["choice"]]
    cells = [(choice, tests) for choice, tests in cells if tests]
    if not cells:
        return None
    columns = len(cells)
    with panels("forecasts", 1, columns, (2.8 * columns, 3.4), sharey=True) as (figure, axes):
        for panel, (choice, tests) in zip(axes[0], cells, strict=True):
            _cell(panel, choice, tests)
        for panel in axes[0]:
            loss_axis(panel)
        axes[0, 0].set_ylabel("final test loss L")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=2)
        return svg_of(figure)


def _tests(evidence: Evidence, choice: dict[str, Any]) -> list[dict[str, Any]]:
    key = (choice["variant"], choice["resource"], choice["chosen"], "next_size")
    tests = evidence.tests["backtests"]
    return [t for t in tests if (t["variant"], t["resource"], t["law"], t["kind"]) == key and t["last_forecast"]]


def _cell(panel: Axes, choice: dict[str, Any], tests: list[dict[str, Any]]) -> None:
    place = np.arange(len(tests))
    forecast, low, high, measured = (
        np.array([test[name] for test in tests], dtype=float)
        for name in ("last_forecast", "last_low", "last_high", "last_measured")
    )
    reach = np.nan_to_num(np.stack([forecast - low, high - forecast]).clip(min=0.0))
    panel.errorbar(place, forecast, reach, fmt="o", color=ink("neutral"), markersize=5, elinewidth=5, alpha=0.55,
                   label="forecast from the smaller sizes, 95 % interval")  # fmt: skip
    panel.plot(place, measured, "D", color=ink(choice["variant"]), markersize=5, label="measured")
    panel.set_xticks(place, [test["held_out"] for test in tests])
    panel.set_xlim(-0.6, len(tests) - 0.4)
    panel.set_title(f"{choice['variant']}, {choice['resource']}: {choice['chosen']}", fontsize=9.5)
    panel.set_xlabel("held-out size")
