"""The plots of the benchmark's page, from rows of its tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rsd_planner.evaluation.benchmark import ORACLE
from rsd_planner.evaluation.proposals import PLACES
from rsd_planner.evaluation.report import PARTS
from rsd_planner.viz.bars import Bar, Line, interval_bars, line_chart, round_up, stacked_bars
from rsd_planner.viz.words import in_words

__all__ = [
    "COST_COLOURS",
    "PART_COLOURS",
    "ROUTE_COLOURS",
    "acceptance_chart",
    "cost_charts",
    "drafter_colours",
    "route_chart",
    "speedup_chart",
    "time_chart",
]

Rows = Sequence[Mapping[str, Any]]

PART_COLOURS = (
    "color-mix(in srgb,var(--faint) 75%,transparent)",
    "color-mix(in srgb,var(--faint) 40%,transparent)",
    "var(--deliberative)",
    "var(--routine)",
    "color-mix(in srgb,var(--path) 55%,transparent)",
)
ROUTE_COLOURS = {
    "previous_tick": "color-mix(in srgb,var(--routine) 50%,transparent)",
    "routine": "var(--routine)",
    "lookup": "#4fb3dd",
    "corrected": "var(--deliberative)",
    "undrafted": "color-mix(in srgb,var(--faint) 55%,transparent)",
}
COST_COLOURS = {
    "plain text": "var(--ink)",
    "drafted text": "var(--routine)",
    "vision, one new picture a camera": "var(--deliberative)",
    "prefill": "var(--faint)",
    "head": "var(--path)",
}
_COST_FIELDS = ("plain_ms", "drafted_ms", "vision_ms", "prefill_ms", "head_ms")
_COST_TITLES = {
    "text": "tokens of text",
    "frames": "pictures of one camera",
    "cameras": "cameras",
}
# Told apart by the common kinds of colour blindness, on light and dark ground (Okabe and Ito).
_COLOURS = ("#2f86d6", "#d9730d", "#12a37f", "#c46a9b", "#b39b1e", "#7a63c9", "#4fb3dd", "#a0522d")
_QUIET = "color-mix(in srgb,var(--faint) 45%,transparent)"
_LEAST_REACHED = 10  # below, a share says nothing


def drafter_colours(names: Iterable[str]) -> dict[str, str]:
    """A colour for each drafter."""
    return {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}


def speedup_chart(rows: Rows, colours: Mapping[str, str]) -> str:
    """Speed-ups of reasoning with their intervals; a line where plain decoding is.

    The axis is made for the drafters: an oracle's bar may end at its edge.
    """
    known = [row for row in rows if row["speedup_reasoning"] is not None]
    bars = [
        Bar(
            in_words(row["drafter"]),
            row["speedup_reasoning"],
            row["ci95_low"],
            row["ci95_high"],
            colours.get(row["drafter"], _QUIET),
        )
        for row in known
    ]
    drafted = [bar.value for bar, row in zip(bars, known) if row["drafter"] != ORACLE]
    return interval_bars(bars, "×", mark=1.0, most=round_up(1.6 * max(drafted, default=1.0)))


def time_chart(times: Rows) -> str:
    """Where a tick's time goes, a bar for each drafter."""
    rows = [(in_words(r["drafter"]), [r[f"{part}_ms"] for part in PARTS]) for r in times]
    return stacked_bars(rows, PART_COLOURS, " ms")


def route_chart(routes: Rows) -> str:
    """Who wrote a text's tokens, a bar for each drafter: means over ticks."""
    rows = [
        (in_words(r["drafter"]), [r[route] / r["ticks"] for route in ROUTE_COLOURS]) for r in routes
    ]
    return stacked_bars(rows, tuple(ROUTE_COLOURS.values()))


def acceptance_chart(acceptance: Rows, colours: Mapping[str, str]) -> str:
    """Accepted of reached tokens by place in the draft, a line for each drafter."""
    lines = []
    for name, colour in colours.items():
        shares = []
        for first, _ in PLACES:
            own = [r for r in acceptance if r["drafter"] == name and r["first_place"] == first]
            seen = sum(r["reached"] for r in own)
            good = sum(r["accepted"] for r in own)
            shares.append(good / seen if seen >= _LEAST_REACHED else None)
        lines.append(Line(in_words(name), tuple(shares), colour))
    labels = [
        f"{first + 1}" if first == last else f"{first + 1}–{last + 1}"
        for first, last in PLACES[:-1]
    ]
    return line_chart(lines, [*labels, f"{PLACES[-1][0] + 1} on"], most=1.0, percent=True)


def cost_charts(costs: Rows) -> list[tuple[str, str]]:
    """A heading and a chart for each thing that grows."""
    charts = []
    for grows, title in _COST_TITLES.items():
        rows = [row for row in costs if row["grows"] == grows]
        if not rows:
            continue
        lines = [
            Line(name, tuple(row[field] for row in rows), colour)
            for (name, colour), field in zip(COST_COLOURS.items(), _COST_FIELDS)
        ]
        labels = [f"{row['size']}" for row in rows]
        charts.append((title, line_chart(lines, labels, width=560, height=240)))
    return charts
