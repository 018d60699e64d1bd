"""The report page: one HTML file without scripts or links to elsewhere.

Charts and pictures are inside; a video lies beside the page. Knows recordings and table rows,
not how they were measured.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from rsd_planner.types import PlanSource
from rsd_planner.viz.charts import paths_chart, times_chart, tokens_chart
from rsd_planner.viz.overlay_video import compose
from rsd_planner.viz.recording import Recording
from rsd_planner.viz.tick_view import Summary, TickView, describe_path, pieces, summarise
from rsd_planner.viz.words import cell, in_words

__all__ = ["write_report"]

_MOST_SHOTS = 6


def write_report(
    path: Path,
    recording: Recording,
    *,
    title: str,
    subtitle: str = "",
    video: str = "",
    rows: Sequence[Mapping[str, Any]] = (),
    plain_measured: bool = False,
) -> None:
    """Write the page. `video` is a path relative to it; `rows` are a benchmark's rows.

    `plain_measured` says that the ticks' plain times were measured in the same tick, not
    estimated.
    """
    environment = Environment(
        loader=PackageLoader("rsd_planner.viz"), autoescape=select_autoescape(default=True)
    )
    ticks = recording.ticks
    horizon = max((len(tick.path_m) * tick.step_s for tick in ticks), default=0.0)
    columns = [name for name in (rows[0] if rows else ()) if _worth_showing(name, rows)]
    page = environment.get_template("report.html.j2").render(
        title=title,
        subtitle=subtitle,
        cards=_cards(summarise(ticks), plain_measured),
        video=video,
        columns=[in_words(name) for name in columns],
        rows=[[cell(row[name]) for name in columns] for row in rows],
        times_svg=Markup(times_chart(ticks)) if ticks else "",
        tokens_svg=Markup(tokens_chart(ticks)) if ticks else "",
        paths_svg=Markup(paths_chart(ticks)) if ticks else "",
        horizon=f"{horizon:.1f}",
        plain_note="" if plain_measured else " (estimated)",
        plain_words=(
            "measured in the same tick, alternating" if plain_measured
            else "an estimate from the time of one-token forwards measured at warm-up"
        ),
        shots=_shots(recording),
        ticks=_tick_rows(ticks),
    )  # fmt: skip
    path.write_text(page, encoding="utf-8")


def _cards(summary: Summary, plain_measured: bool) -> list[dict[str, str]]:
    if summary.ticks == 0:
        return []
    return [
        {
            "name": "speed-up of reasoning",
            "value": f"{summary.speedup:.1f}×",
            "note": "against plain decoding" + ("" if plain_measured else ", estimated"),
        },
        {
            "name": "routine tokens",
            "value": f"{summary.routine_share:.0%}",
            "note": f"{summary.accepted} of {summary.tokens}",
        },
        {
            "name": "tokens a forward",
            "value": f"{summary.tokens_per_forward:.1f}",
            "note": f"{summary.target_forwards} forwards of the model",
        },
        {
            "name": "plans from the model",
            "value": f"{summary.model_ticks}",
            "note": f"of {summary.ticks} ticks",
        },
        {
            "name": "tick time, median",
            "value": f"{summary.tick_ms_p50:.0f} ms",
            "note": f"p99 {summary.tick_ms_p99:.0f} ms",
        },
        {
            "name": "equal consecutive texts",
            "value": f"{summary.equal_text_share:.0%}",
            "note": f"{summary.different_texts} different texts",
        },
    ]


def _tick_rows(ticks: Sequence[TickView]) -> list[dict[str, Any]]:
    if not ticks:
        return []
    return [_tick_row(tick, ticks[0].t0_ns) for tick in ticks]


def _tick_row(tick: TickView, start_ns: int) -> dict[str, Any]:
    row: dict[str, Any] = {
        "seconds": f"{(tick.t0_ns - start_ns) / 1e9:.1f}",
        "pieces": pieces(tick.text, tick.spans),
        "path": describe_path(tick).split(": ", 1)[-1],
    }
    if tick.source != PlanSource.MODEL:
        return {**row, "source": in_words(tick.source.name)}
    return {
        **row,
        "decision": in_words(tick.decision.name),
        "tokens": f"{tick.accepted} + {tick.deliberative}",
        "forwards": tick.target_forwards,
        "reasoning": f"{tick.reasoning_ms:.0f}",
        "plain": f"{tick.plain_ms_estimate:.0f}",
        "total": f"{tick.total_ms:.0f}",
    }


def _shots(recording: Recording) -> list[str]:
    """Video frames, base64 JPEG, at which a new decision first shows."""
    found: list[str] = []
    decision = None
    for picture in recording.pictures:
        tick = recording.tick_at(picture.stamp_ns)
        if tick is None or tick.source != PlanSource.MODEL or len(found) == _MOST_SHOTS:
            continue
        if tick.decision == decision:
            continue
        image = picture.decode()
        if image is None:
            continue
        decision = tick.decision
        frame = compose(recording, image, picture.stamp_ns)
        small = cv2.resize(frame, (800, 450), interpolation=cv2.INTER_AREA)
        good, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
        if good:
            found.append(base64.b64encode(np.asarray(data).tobytes()).decode())
    return found


def _worth_showing(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    return any(row.get(name) is not None for row in rows)
