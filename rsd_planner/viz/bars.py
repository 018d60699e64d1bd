"""Bars and lines as SVG text, in the page's own colours so that they follow light and dark.

Knows labels and numbers, not what they mean. Every function returns one `<svg>` element.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Bar", "Line", "interval_bars", "line_chart", "round_up", "stacked_bars"]

_WIDTH, _LEFT, _RIGHT, _TOP, _STEP = 1130, 210, 90, 8, 26


@dataclass(frozen=True)
class Bar:
    """A labelled value with its interval; `colour` is any CSS colour."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    colour: str = "var(--routine)"


@dataclass(frozen=True)
class Line:
    """A series over the x labels; None leaves a gap."""

    label: str
    values: tuple[float | None, ...]
    colour: str


def round_up(value: float) -> float:
    """The next of 1, 2, 2.5, 5 × a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if value <= step * power * 1.0001)


def interval_bars(
    bars: Sequence[Bar], unit: str = "", mark: float | None = None, most: float | None = None
) -> str:
    """Horizontal bars with whiskers; `mark` is a value to draw a line at.

    Bars beyond `most` end there, so that one does not dwarf the others.
    """
    # A whisker may be far longer than its bar: the axis is made for the bars.
    most = most or round_up(1.15 * max([bar.value for bar in bars] + [0.0]))
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    bottom = _TOP + _STEP * len(bars)
    parts = _grid(most, scale, bottom, unit)
    for index, bar in enumerate(bars):
        y = _TOP + _STEP * index
        parts.append(_label(bar.label, y))
        wide = min(max(0.0, bar.value), most) * scale
        parts.append(
            f'<rect x="{_LEFT}" y="{y + 5}" width="{wide:.1f}" height="16" rx="2" '
            f'fill="{bar.colour}"/>'
        )
        end = min(bar.value, most)
        if bar.low is not None and bar.high is not None:
            low, high = (_LEFT + min(max(0.0, v), most) * scale for v in (bar.low, bar.high))
            parts.append(
                f'<path d="M{low:.1f} {y + 13}H{high:.1f}M{low:.1f} {y + 9}v8M{high:.1f} '
                f'{y + 9}v8" stroke="var(--ink)" stroke-width="1.4" fill="none"/>'
            )
            end = max(end, min(bar.high, most))
        parts.append(
            f'<text x="{_LEFT + max(0.0, end) * scale + 7:.1f}" y="{y + 17}" '
            f'style="fill:var(--ink)">{bar.value:.2f}{unit}</text>'
        )
    if mark is not None and mark <= most:
        x = _LEFT + mark * scale
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}" '
            'stroke="var(--deliberative)" stroke-dasharray="5 4" stroke-width="1.5"/>'
        )
    return _svg(bottom + 24, parts)


def stacked_bars(
    rows: Sequence[tuple[str, Sequence[float]]], colours: Sequence[str], unit: str = ""
) -> str:
    """Horizontal bars of parts, one colour each; the sum stands behind."""
    most = round_up(max([sum(max(0.0, v) for v in values) for _, values in rows] + [0.0]))
    scale = (_WIDTH - _LEFT - _RIGHT) / most
    bottom = _TOP + _STEP * len(rows)
    parts = _grid(most, scale, bottom, unit)
    for index, (label, values) in enumerate(rows):
        y, x = _TOP + _STEP * index, float(_LEFT)
        parts.append(_label(label, y))
        for value, colour in zip(values, colours, strict=True):
            wide = max(0.0, value) * scale
            parts.append(
                f'<rect x="{x:.1f}" y="{y + 5}" width="{wide:.1f}" height="16" fill="{colour}">'
                f"<title>{value:.1f}{unit}</title></rect>"
            )
            x += wide
        parts.append(
            f'<text x="{x + 7:.1f}" y="{y + 17}" style="fill:var(--ink)">'
            f"{sum(values):.0f}{unit}</text>"
        )
    return _svg(bottom + 24, parts)


def line_chart(
    lines: Sequence[Line],
    labels: Sequence[str],
    *,
    most: float | None = None,
    percent: bool = False,
    width: int = _WIDTH,
    height: int = 260,
) -> str:
    """Lines over evenly spaced labels, from zero to `most`."""
    values = [v for line in lines for v in line.values if v is not None]
    ceiling = most or round_up(max([*values, 0.0]))
    left, base, top = 52, height - 28, 12
    step = (width - left - 40) / max(1, len(labels) - 1)
    scale = (base - top) / ceiling
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y, value = base - share * ceiling * scale, share * ceiling
        text = f"{value:.0%}" if percent else f"{value:g}"
        parts.append(
            f'<line x1="{left}" x2="{width - 14}" y1="{y:.1f}" y2="{y:.1f}" '
            f'stroke="var(--line)"/><text x="{left - 7}" y="{y + 4:.1f}" '
            f'text-anchor="end">{text}</text>'
        )
    for index, label in enumerate(labels):
        parts.append(
            f'<text x="{left + 14 + index * step:.1f}" y="{base + 18}" '
            f'text-anchor="middle">{escape(label)}</text>'
        )
    for line in lines:
        for run in _runs(line.values):
            points = [(left + 14 + i * step, base - max(0.0, v) * scale) for i, v in run]
            words = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
            parts.append(
                f'<polyline points="{words}" fill="none" stroke="{line.colour}" stroke-width="2"/>'
            )
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{line.colour}"><title>'
                f"{escape(line.label)}</title></circle>"
                for x, y in points
            ]
    return _svg(height, parts, width)


def _runs(values: Sequence[float | None]) -> list[list[tuple[int, float]]]:
    """Stretches of known values, each with its indices."""
    runs: list[list[tuple[int, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((index, value))
    return [run for run in runs if run]


def _grid(most: float, scale: float, bottom: int, unit: str) -> list[str]:
    parts = []
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _LEFT + share * most * scale
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{bottom}" stroke="var(--line)"/>'
            f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">'
            f"{share * most:g}{unit}</text>"
        )
    return parts


def _label(text: str, y: float) -> str:
    return f'<text x="{_LEFT - 10}" y="{y + 17}" text-anchor="end">{escape(text)}</text>'


def _svg(height: float, parts: Sequence[str], width: int = _WIDTH) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height:.0f}" xmlns="http://www.w3.org/2000/svg">'
        + "".join(parts)
        + "</svg>"
    )
