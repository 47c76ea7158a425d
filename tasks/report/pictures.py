"""All pictures of the page by name."""

from __future__ import annotations

from collections.abc import Callable

from tasks.report.evidence import Evidence
from tasks.report.figures import forecasts, law, learning, reuse, scores, training

PICTURES: dict[str, Callable[[Evidence], str | None]] = {
    "law_compute": lambda evidence: law.draw(evidence, "compute"),
    "law_data": lambda evidence: law.draw(evidence, "data"),
    "learning": learning.draw,
    "forecasts": forecasts.draw,
    "reuse": reuse.draw,
    "training": training.draw,
    "scores": scores.draw,
}


def draw_all(evidence: Evidence) -> dict[str, str]:
    """SVG documents by name; what the study has no data for is left out."""
    drawn = {name: draw(evidence) for name, draw in PICTURES.items()}
    return {name: svg for name, svg in drawn.items() if svg is not None}
