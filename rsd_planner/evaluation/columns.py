"""How the benchmark's rows stand in tables: field, heading and format, on a terminal or a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["TIME", "WORK", "Column", "known", "shown"]

Column = tuple[str, str, str]  # field, heading, format

WORK: tuple[Column, ...] = (
    ("ticks", "ticks", "{}"),
    ("tokens_per_forward", "tokens a forward", "{:.1f}"),
    ("routine_share", "routine", "{:.0%}"),
    ("exact_ticks", "exact", "{}"),
    ("excused_ticks", "excused", "{}"),
    ("ade_m", "ADE", "{:.2f} m"),
    ("fde_m", "FDE", "{:.2f} m"),
)
TIME: tuple[Column, ...] = (
    ("speedup_reasoning", "speed-up", "{:.2f}×"),
    ("ci95_low", "95 % from", "{:.2f}"),
    ("ci95_high", "to", "{:.2f}"),
    # What copying could save: no speed-up means anything without it.
    ("equal_text_share", "equal texts", "{:.0%}"),
    ("changed_tokens", "changed tokens", "{:.1f}"),
    ("saved_share", "of oracle", "{:.0%}"),
    ("reasoning_ms_p50", "reasoning p50", "{:.1f} ms"),
    ("reasoning_ms_p95", "p95", "{:.1f} ms"),
    ("tick_ms_p50", "tick p50", "{:.0f} ms"),
    ("tick_ms_p99", "p99", "{:.0f} ms"),
    ("tick_over_floor_p50", "of its floor p50", "{:.2f}"),
    ("tick_over_floor_p95", "p95", "{:.2f}"),
    ("floor_ms_p50", "floor p50", "{:.0f} ms"),
    ("head_ms_p50", "head p50", "{:.0f} ms"),
    ("reasoning_share", "share of the tick", "{:.0%}"),
    ("speedup_tick", "whole tick", "{:.2f}×"),
)


def known(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns for which a row knows anything."""
    return [column for column in columns if any(row.get(column[0]) is not None for row in rows)]


def shown(row: Mapping[str, Any], columns: Sequence[Column]) -> list[str]:
    """A row's cells; a dash for what is not known."""
    return ["–" if row.get(name) is None else form.format(row[name]) for name, _, form in columns]
