"""The page on a target: figures, where causes are mistaken for others, and the worst ticks.

One HTML file without scripts or links to elsewhere, in the style of the drives' reports. Takes
ticks and answers; measures nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup
from numpy.typing import NDArray

from rsd_planner.evaluation.failures import worst_ticks
from rsd_planner.evaluation.grounding import CANONICAL_CAUSES, confusion
from rsd_planner.evaluation.target import Answers, Ticks
from rsd_planner.viz.words import cell, in_words

__all__ = ["write_target_report"]

# What the project wants of a target: field of a row, at least or at most.
_GOALS = {"macro_f1": 0.90, "min_f1": 0.75, "decision_accuracy": 0.90}
_SLACK = 0.05  # above the prior, for inputs that tell nothing


def write_target_report(
    path: Path, ticks: Ticks, answers: Sequence[Answers], figures: Mapping[str, Any], command: str
) -> None:
    """Write the page. `figures` are those of `report_of` for the same ticks and answers."""
    environment = Environment(
        loader=PackageLoader("rsd_planner.viz"), autoescape=select_autoescape(default=True)
    )
    rows, normal = figures["rows"], answers[0]
    drives = len(np.unique(ticks.drive))
    page = environment.get_template("target.html.j2").render(
        title="What the model sees, says and drives",
        subtitle=f"{len(ticks)} ticks of {drives} held-out drives",
        command=command,
        cards=_cards(rows, figures["causes"], figures["paths"]),
        tables=[
            _inputs_table(rows),
            _causes_table(figures["causes"]),
            _events_table(rows),
            _paths_table(figures["paths"]),
            _calibration_table(figures["calibration"]),
            _attributes_table(figures["attributes"]),
        ],
        heats=[_causes_heat(ticks, normal), _decisions_heat(ticks, normal)],
        ticks=worst_ticks(ticks, normal),
    )
    path.write_text(page, encoding="utf-8")


def _cards(
    rows: Sequence[dict[str, Any]], causes: Sequence[dict[str, Any]], paths: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    whole = {row["input"]: row for row in rows if row["split"] == "streaming"}
    row = whole["normal"]
    weakest = min(causes, key=lambda cause: cause["f1"])["cause"] if causes else ""
    cards = [
        _card(
            "macro F1 of causes", row["macro_f1"], _span(row, "macro_f1_low", "macro_f1_high"),
            _at_least(row, "macro_f1"),
        ),
        _card("weakest cause", row["min_f1"], in_words(weakest), _at_least(row, "min_f1")),
        _card(
            "decision accuracy", row["decision_accuracy"],
            _span(row, "decision_low", "decision_high"), _at_least(row, "decision_accuracy"),
        ),
    ]  # fmt: skip
    for name in ("blank", "swapped"):
        if name in whole and whole[name]["unshown_f1"] is not None:
            found, prior = whole[name]["unshown_f1"], whole[name]["unshown_prior_f1"]
            good = prior is not None and found <= prior + _SLACK
            cards.append(_card(f"F1, pictures {name}", found, f"prior {cell(prior)}", good))
    event = [p for p in paths if p["split"] == "event" and p["planner"] == "model"]
    if event and event[0]["ade_3s_against_cv"] is not None:
        ratio = event[0]["ade_3s_against_cv"]
        note = f"{event[0]['ade_3s_m']:.2f} m, of constant velocity's"
        cards.append(_card("ADE at 3 s, event ticks", ratio, note, ratio <= 0.5, "{:.0%}"))
    return cards


def _card(name: str, value: Any, note: str, good: bool, form: str = "{:.2f}") -> dict[str, Any]:
    text = "–" if value is None else form.format(value)
    return {"name": name, "value": text, "note": note, "good": good}


def _at_least(row: Mapping[str, Any], field: str) -> bool:
    return row[field] is not None and row[field] >= _GOALS[field]


def _table(
    title: str,
    note: str,
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    *,
    words: int = 1,
    svg: str = "",
) -> dict[str, Any]:
    """A table of the columns for which anything is known; the first `words` hold names."""
    shown = [name for name in columns if any(row.get(name) is not None for row in rows)]
    return {
        "title": title,
        "note": note,
        "columns": [in_words(name) for name in shown],
        "rows": [[cell(row.get(name)) for name in shown] for row in rows],
        "words": words,
        "svg": Markup(svg),
    }


def _inputs_table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    columns = (
        "split", "input", "ticks", "macro_f1", "min_f1", "prior_f1", "unshown_f1",
        "unshown_prior_f1", "unshown_history_f1", "decision_accuracy", "decision_macro",
        "decision_prior", "complete_share", "samples", "ade_3s_m", "cv_ade_3s_m", "silent_ade_3s_m",
        "min_ade_3s_m", "fde_6s_m",
    )  # fmt: skip
    note = (
        "Unshown: causes that the car's own motion cannot show. Prior: always saying a cause; "
        "history: the best guess from the motion. Silent: the same model without reasoning."
    )
    chosen = [row for row in rows if row["ticks"] and not row["split"].startswith("event:")]
    return _table("Splits and inputs", note, chosen, columns, words=2)


def _causes_table(causes: Sequence[dict[str, Any]]) -> dict[str, Any]:
    columns = (
        "cause", "ticks", "drives", "precision", "recall", "f1", "f1_low", "f1_high", "prior_f1",
        "history_f1", "blank_f1", "swapped_f1", "history_shuffled_f1",
    )  # fmt: skip
    note = (
        "Bars: F1 and its 95 % interval. Grey mark: saying the cause always. Orange rings: the "
        "same model before grey pictures (small) and another drive's (large)."
    )
    return _table("Causes", note, _said(causes), columns, svg=_causes_chart(causes))


def _events_table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    columns = (
        "event", "ticks", "drives", "recall", "decision_accuracy", "ade_3s_m", "cv_ade_3s_m",
        "silent_ade_3s_m", "min_ade_3s_m", "fde_6s_m",
    )  # fmt: skip
    chosen = [
        {**row, "event": in_words(row["split"].removeprefix("event:"))}
        for row in rows
        if row["split"].startswith("event:") and row["input"] == "normal" and row["ticks"]
    ]
    return _table("By event", "Ticks at which a cause is true.", chosen, columns)


def _paths_table(paths: Sequence[dict[str, Any]]) -> dict[str, Any]:
    horizons = [f"{kind}_{h}s_m" for kind in ("ade", "fde", "min_ade") for h in (1, 3, 6)]
    ratio = ["ade_3s_against_cv", "against_cv_low", "against_cv_high"]
    less = ["ade_3s_less_silent_m", "less_silent_low", "less_silent_high"]
    note = "Metres from where the expert drove; min: the best of the samples."
    named = [{**row, "planner": in_words(row["planner"])} for row in paths]
    columns = ("split", "planner", "ticks", *horizons, *ratio, *less)
    return _table("Paths", note, named, columns, words=2)


def _calibration_table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    flat = [
        {**row, **{f"within_{q:.0%}_of_samples": v for q, v in row["coverage"].items()}}
        for row in rows
    ]
    names = [name for name in (flat[0] if flat else ()) if name.startswith("within")]
    columns = ("horizon_s", "spread_m", "error_m", *names, "rank_correlation")
    note = (
        "Share of truths no farther from the chosen path than that share of the other samples: "
        "less than the share itself is over-confident. Rank correlation of spread and error."
    )
    return _table("Does the spread tell the error?", note, flat, columns, words=0)


def _attributes_table(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    note = "Of causes both true and said; distance and speed within one of the narrator's steps."
    return _table("What is said of the causes", note, rows, ("attribute", "told", "accuracy"))


def _causes_chart(causes: Sequence[dict[str, Any]]) -> str:
    """Horizontal bars, one a cause, most frequent first."""
    left, width, step, top = 170, 900, 24, 8
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = left + share * width
        bottom = top + step * len(causes)
        parts.append(
            f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{top}" y2="{bottom}" stroke="var(--line)"/>'
            f'<text x="{x:.0f}" y="{bottom + 15}" text-anchor="middle">{share:g}</text>'
        )
    for index, row in enumerate(sorted(causes, key=lambda row: -row["ticks"])):
        y = top + step * index
        x = left + row["f1"] * width
        parts.append(
            f'<text x="{left - 8}" y="{y + 16}" text-anchor="end">{in_words(row["cause"])}</text>'
            f'<rect x="{left}" y="{y + 5}" width="{row["f1"] * width:.1f}" height="14" '
            f'fill="var(--routine)"><title>{row["f1"]:.3f}</title></rect>'
        )
        if row["f1_low"] is not None:
            low, high = (left + row[key] * width for key in ("f1_low", "f1_high"))
            parts.append(
                f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y + 12}" y2="{y + 12}" '
                'stroke="var(--ink)" stroke-width="1.5"/>'
            )
        for key, radius in (("blank_f1", 3.5), ("swapped_f1", 5.5)):
            if row.get(key) is not None:
                x = left + row[key] * width
                parts.append(
                    f'<circle cx="{x:.1f}" cy="{y + 12}" r="{radius}" fill="none" '
                    'stroke="var(--deliberative)" stroke-width="2"/>'
                )
        if row["prior_f1"] is not None:
            x = left + row["prior_f1"] * width
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y + 2}" y2="{y + 22}" '
                'stroke="var(--faint)" stroke-width="2.5"/>'
            )
    height = top + step * len(causes) + 24
    return (
        f'<svg viewBox="0 0 1130 {height}" xmlns="http://www.w3.org/2000/svg">'
        + "".join(parts)
        + "</svg>"
    )


def _causes_heat(ticks: Ticks, given: Answers) -> dict[str, Any]:
    table = confusion(ticks.truth, given.said)
    used = np.flatnonzero(ticks.truth.any(axis=0) | given.said.any(axis=0))
    columns = [*used, len(CANONICAL_CAUSES)]
    names = [in_words(CANONICAL_CAUSES[i]) for i in used]
    note = (
        "Rows: true causes, in percent. A tick that misses its cause is shared out among the "
        "causes that it says wrongly."
    )
    return {
        "title": "Causes taken for others",
        "note": note,
        "columns": [*names, "nothing"],
        "rows": _heat_rows(table[np.ix_(used, columns)], names),
    }


def _decisions_heat(ticks: Ticks, given: Answers) -> dict[str, Any]:
    count = len(ticks.decisions)
    table = np.zeros((count, count + 1))
    np.add.at(table, (ticks.decision, np.where(given.decision < 0, count, given.decision)), 1)
    return {
        "title": "Decisions taken for others",
        "note": "Rows: what the expert decides, in percent.",
        "columns": [*ticks.decisions, "unreadable"],
        "rows": _heat_rows(table, list(ticks.decisions)),
    }


def _heat_rows(table: NDArray[np.float64], names: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for index, (name, counts) in enumerate(zip(names, table, strict=True)):
        if counts.sum() == 0:
            continue
        percent = 100 * counts / counts.sum()
        cells = [
            {"percent": round(0.8 * p), "text": f"{p:.0f}" if p >= 0.5 else "", "right": i == index}
            for i, p in enumerate(percent)
        ]
        rows.append({"name": f"{name} ({counts.sum():.0f})", "cells": cells})
    return rows


def _said(causes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**row, "cause": in_words(row["cause"])}
        for row in sorted(causes, key=lambda row: -row["ticks"])
    ]


def _span(row: Mapping[str, Any], low: str, high: str) -> str:
    return "" if row[low] is None else f"95 %: {row[low]:.2f} to {row[high]:.2f}"
