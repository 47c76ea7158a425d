"""`rlscale design` as tables of text."""

from __future__ import annotations

from tasks.costs.units import short_count
from tasks.fit.design.proposal import Design
from tasks.fit.design.replay import Replay
from tasks.fit.output.tables import TextTable
from tasks.records.format import number


def design_tables(design: Design, unit: str) -> list[TextTable]:
    """The purchases in order with the forecast's standard deviation, and what is bought in the end."""
    title = f"sd of log10 L of {short_count(design.target)} at step {design.last_step}, by purchase"
    purchases = [
        (
            index,
            short_count(entry.runs.n),
            entry.kind,
            entry.runs.steps,
            entry.runs.seeds,
            number(entry.cost),
            number(entry.total),
            number(entry.before, 4),
            number(entry.after, 4),
        )
        for index, entry in enumerate(design.purchases, start=1)
    ]
    columns = ("", "size", "purchase", "steps", "seeds", unit, f"{unit} so far", "sd before", "sd after")
    bought = [(short_count(runs.n), runs.steps, runs.seeds) for runs in design.runs]
    return [(title, columns, purchases), ("to run", ("size", "steps", "seeds"), bought)]


def replay_tables(replay: Replay) -> list[TextTable]:
    """Every comparison: how far each candidate was trained, who was chosen, what it cost and lost."""
    rows = [
        (
            entry.name,
            ", ".join(f"{name} {share:.0%}" for name, share in entry.trained.items()),
            entry.chosen,
            f"{entry.cost:.0%}",
            number(entry.regret),
        )
        for entry in replay.outcomes
    ]
    return [("stopping replayed", ("compared at", "trained", "chosen", "cost", "regret"), rows)]
