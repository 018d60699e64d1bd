"""The page on drafters: speed-ups with intervals, where a tick's time goes, who accepts what.

One HTML file without scripts or links to elsewhere, made of the tables of `report` and `costs`
alone: the same that the JSON file holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from rsd_planner.evaluation.bench_charts import (
    COST_COLOURS,
    PART_COLOURS,
    ROUTE_COLOURS,
    acceptance_chart,
    cost_charts,
    drafter_colours,
    route_chart,
    speedup_chart,
    time_chart,
)
from rsd_planner.evaluation.benchmark import FLOOR, ORACLE
from rsd_planner.evaluation.columns import TIME, WORK, Column, known, shown
from rsd_planner.evaluation.controls import ASSISTED, GENERATE, LOOKUP
from rsd_planner.evaluation.report import PARTS
from rsd_planner.viz.words import cell, in_words

__all__ = ["write_bench_page"]

Rows = Sequence[Mapping[str, Any]]

_BOUNDS = ("none", ORACLE, FLOOR, GENERATE, LOOKUP, ASSISTED)
# The bars show these parts.
_PAGE_TIME = tuple(
    c for c in TIME if c[0] not in ("floor_ms_p50", "head_ms_p50", "reasoning_share")
)
_COMPACT = (
    "ticks", "tokens_per_forward", "exact_ticks", "equal_text_share", "changed_tokens",
    "speedup_reasoning", "ci95_low", "ci95_high", "saved_share", "tick_ms_p50",
)  # fmt: skip
_OTHERS: tuple[Column, ...] = (
    ("rule", "rule", "{}"),
    ("hz", "Hz", "{:g}"),
    ("split", "split", "{}"),
    *(column for column in (*WORK, *TIME) if column[0] in _COMPACT),
)


def write_bench_page(path: Path, tables: Mapping[str, Rows], subtitle: str, command: str) -> None:
    """Write the page. `tables` are those of `bench_tables`, and `costs` if there are any.

    The first rule and rate are shown in full, all others in one table.
    """
    environment = Environment(
        loader=PackageLoader("rsd_planner.viz"), autoescape=select_autoescape(default=True)
    )
    first = tables["rows"][0] if tables["rows"] else {"rule": "", "hz": None}
    main = {
        key: [row for row in rows if _same(row, first)]
        for key, rows in tables.items()
        if key != "costs"
    }
    others = [row for row in tables["rows"] if not _same(row, first) and row["ticks"]]
    rows = [row for row in main["rows"] if row["ticks"]]
    splits = list(dict.fromkeys(row["split"] for row in rows))
    colours = drafter_colours(
        name for name in dict.fromkeys(row["drafter"] for row in rows) if name not in _BOUNDS
    )
    page = environment.get_template("bench.html.j2").render(
        title="What drafting saves",
        subtitle=f"{subtitle}, rule {first['rule']}, {first['hz'] or 0:g} ticks a second",
        command=command,
        cards=_cards(rows, main["pairs"]),
        splits=[_split(name, rows, main, colours) for name in splits],
        parts=[{"name": p, "colour": c} for p, c in zip(PARTS, PART_COLOURS)],
        drafters=[{"name": in_words(n), "colour": c} for n, c in colours.items()],
        routes=[{"name": in_words(n), "colour": c} for n, c in ROUTE_COLOURS.items()],
        sources=_sources(main["acceptance"]),
        costs=[
            {"title": title, "svg": Markup(svg)}
            for title, svg in cost_charts(tables.get("costs", ()))
        ],
        cost_parts=[{"name": n, "colour": c} for n, c in COST_COLOURS.items()],
        others=_table(others, _OTHERS) if others else None,
    )
    path.write_text(page, encoding="utf-8")


def _same(row: Mapping[str, Any], first: Mapping[str, Any]) -> bool:
    return (row["rule"], row["hz"]) == (first["rule"], first["hz"])


def _split(
    split: str, rows: Rows, main: Mapping[str, Rows], colours: Mapping[str, str]
) -> dict[str, Any]:
    """Everything that the page shows of one split."""
    own = [row for row in rows if row["split"] == split]
    plain = next((row for row in own if row["drafter"] == "none"), own[0])
    part = {key: [r for r in main[key] if r["split"] == split] for key in main}
    return {
        "name": split,
        "ticks": plain["ticks"],
        "equal": _percent(plain["equal_text_share"]),
        "changed": cell(plain["changed_tokens"]),
        "speedups": Markup(speedup_chart(own, colours)),
        "work": _table(own, WORK),
        "time": _table(own, _PAGE_TIME),
        "times": Markup(time_chart(part["times"])),
        "acceptance": Markup(acceptance_chart(part["acceptance"], colours)),
        "routes": Markup(route_chart(part["routes"])),
        "drafting": _drafting(part["routes"]),
        "pairs": _matrix(part["pairs"]),
    }


def _drafting(routes: Rows) -> dict[str, Any]:
    """What is drafted, verified and accepted in a tick, by who drafts."""
    columns = ("forwards", "drafts", "drafted", "verified", "accepted")
    return {
        "columns": ["drafter", "forwards", "with a draft", "drafted", "verified", "accepted"],
        "rows": [
            [in_words(row["drafter"]), *(f"{row[c] / row['ticks']:.1f}" for c in columns)]
            for row in routes
            if row["drafts"]
        ],
    }


def _table(rows: Rows, columns: Sequence[Column]) -> dict[str, Any]:
    columns = known(columns, rows)
    return {
        "columns": ["drafter", *(heading for _, heading, _ in columns)],
        "rows": [[in_words(row["drafter"]), *shown(row, columns)] for row in rows],
    }


def _matrix(pairs: Rows) -> dict[str, Any]:
    """How many times less reasoning the row's drafter needs than the column's."""
    names = list(dict.fromkeys(row["drafter"] for row in pairs))
    found = {(row["drafter"], row["against"]): row for row in pairs}
    rows = []
    for name in names:
        cells = []
        for other in names:
            row = found.get((name, other))
            times = row and row["times_faster"]
            sure = row is not None and row["ci95_low"] is not None
            cells.append(
                {
                    "text": f"{times:.2f}" if times else "",
                    "note": f"{row['ci95_low']:.2f} to {row['ci95_high']:.2f}"
                    if row is not None and sure
                    else "",
                    "better": bool(times and times > 1),
                    "sure": bool(
                        row is not None and sure and not row["ci95_low"] <= 1 <= row["ci95_high"]
                    ),
                }
            )
        rows.append({"name": in_words(name), "cells": cells})
    return {"columns": [in_words(name) for name in names], "rows": rows}


def _sources(acceptance: Rows) -> list[dict[str, str]]:
    """Reached and accepted tokens of each drafter, split and source."""
    sums: dict[tuple[str, str, str], list[int]] = {}
    for row in acceptance:
        if row["drafter"] == ORACLE:
            continue
        count = sums.setdefault((row["drafter"], row["split"], row["source"]), [0, 0])
        count[0] += row["reached"]
        count[1] += row["accepted"]
    return [
        {
            "drafter": in_words(drafter),
            "split": split,
            "source": in_words(source),
            "reached": str(seen),
            "accepted": str(good),
            "share": f"{good / seen:.1%}",
        }
        for (drafter, split, source), (seen, good) in sums.items()
    ]


def _cards(rows: Rows, pairs: Rows) -> list[dict[str, Any]]:
    """What the project wants of its default drafter, and where the measured one stands."""
    names = list(dict.fromkeys(row["drafter"] for row in rows if row["drafter"] not in _BOUNDS))
    if not names:
        return []
    by = {(row["drafter"], row["split"]): row for row in rows}

    def speedup(name: str, split: str) -> float:
        row = by.get((name, split))
        return (row and row["speedup_reasoning"]) or 0.0

    best = "cascade" if "cascade" in names else max(names, key=lambda n: speedup(n, "streaming"))
    alone = max(names, key=lambda n: speedup(n, "isolated"))
    wanted = (
        (best, "streaming", "speedup_reasoning", 8.0, "speed-up of reasoning", "{:.1f}×"),
        (best, "novel", "speedup_reasoning", 3.0, "… on novel ticks", "{:.1f}×"),
        (alone, "isolated", "speedup_reasoning", 2.5, "… on isolated ticks", "{:.1f}×"),
        (best, "streaming", "saved_share", 0.93, "of what an oracle saves", "{:.0%}"),
        (best, "streaming", "tokens_per_forward", 12.0, "tokens a forward", "{:.1f}"),
        (best, "streaming", "tick_over_floor_p50", -1.15, "tick over its floor, p50", "{:.2f}"),
        (best, "streaming", "tick_over_floor_p95", -1.4, "… p95", "{:.2f}"),
    )
    cards = [
        _card(by.get((who, split)), field, goal, name, form)
        for who, split, field, goal, name, form in wanted
    ]
    for control, goal in ((GENERATE, 10.0), (ASSISTED, 3.0), (LOOKUP, 2.0)):
        for pair in pairs:
            if (pair["drafter"], pair["against"], pair["split"]) == (best, control, "streaming"):
                named = {**pair, "drafter": best}
                cards.append(
                    _card(named, "times_faster", goal, f"against {in_words(control)}", "{:.1f}×")
                )
    return [card for card in cards if card is not None]


def _card(
    row: Mapping[str, Any] | None, field: str, goal: float, name: str, form: str
) -> dict[str, Any] | None:
    """A figure beside its goal; a negative goal is one not to be exceeded."""
    if row is None or row[field] is None:
        return None
    value = row[field]
    kind = "at most" if goal < 0 else "at least"
    return {
        "name": name,
        "value": form.format(value),
        "note": f"{in_words(row['drafter'])}; wanted {kind} {form.format(abs(goal))}",
        "good": value <= -goal if goal < 0 else value >= goal,
    }


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"
