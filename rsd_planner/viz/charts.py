"""Small charts as SVG text, in the page's own colours so that they follow light and dark.

Takes ticks; knows nothing of pages. Every function returns one `<svg>` element.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rsd_planner.types import PlanSource
from rsd_planner.viz.bars import round_up
from rsd_planner.viz.tick_view import TickView

__all__ = ["paths_chart", "times_chart", "tokens_chart"]

_WIDTH = 1130
_LEFT, _RIGHT = 52, 12


def times_chart(ticks: Sequence[TickView]) -> str:
    """Reasoning time of each tick as a bar, plain decoding as a line above it."""
    own = _own(ticks)
    height, top, bottom = 200, 14, 26
    most = max([max(t.reasoning_ms, t.plain_ms_estimate) for t in own] + [1.0])
    ceiling = round_up(most)
    across = _Axis(own, height)
    scale = (height - top - bottom) / ceiling
    base = height - bottom
    parts = [across.time_labels(base)]
    for value in np.linspace(0, ceiling, 5):
        y = base - value * scale
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" '
                     'stroke="var(--line)"/>'
                     f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
                     f"{value:.0f}{' ms' if value == ceiling else ''}</text>")  # fmt: skip
    line = []
    for tick in own:
        x, width = across.slot(tick)
        size = tick.reasoning_ms * scale
        parts.append(
            f'<rect x="{x:.1f}" y="{base - size:.1f}" width="{width:.1f}" height="{size:.1f}" '
            f'fill="var(--routine)"><title>{tick.reasoning_ms:.0f} ms, plain '
            f"{tick.plain_ms_estimate:.0f} ms</title></rect>"
        )
        line.append(f"{x + width / 2:.1f},{base - tick.plain_ms_estimate * scale:.1f}")
    parts.append(
        f'<polyline points="{" ".join(line)}" fill="none" stroke="var(--faint)" '
        'stroke-width="1.6"/>'
    )
    return _svg(height, parts)


def tokens_chart(ticks: Sequence[TickView]) -> str:
    """Routine tokens below, deliberative ones on top, for each tick."""
    own = _own(ticks)
    height, top, bottom = 150, 10, 26
    most = round_up(max([tick.tokens for tick in own] + [1]))
    across = _Axis(own, height)
    scale, base = (height - top - bottom) / most, height - bottom
    parts = [across.time_labels(base)]
    for value in (0.0, most / 2, most):
        y = base - value * scale
        parts.append(f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.0f}</text>')
    for tick in own:
        x, width = across.slot(tick)
        routine, rest = tick.accepted * scale, tick.deliberative * scale
        title = f"<title>{tick.accepted} routine, {tick.deliberative} deliberative</title>"
        parts.append(
            f'<rect x="{x:.1f}" y="{base - routine:.1f}" width="{width:.1f}" '
            f'height="{routine:.1f}" fill="var(--routine)">{title}</rect>'
            f'<rect x="{x:.1f}" y="{base - routine - rest:.1f}" width="{width:.1f}" '
            f'height="{rest:.1f}" fill="var(--deliberative)">{title}</rect>'
        )
    return _svg(height, parts)


def paths_chart(ticks: Sequence[TickView]) -> str:
    """The driven line and one planned path a second, from above, along the drive."""
    own = _own(ticks)
    if len(own) < 2:
        return _svg(40, ['<text x="12" y="24">too few plans</text>'])
    driven = np.stack([tick.pose_odom_from_ego[:2, 3] for tick in own])  # (ticks, 2)
    chosen = _one_a_second(own)
    everything = np.concatenate([driven, *(tick.path_m[:, :2] for tick in chosen)])
    turn = _turn_to_horizontal(everything)
    everything = everything @ turn
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = (_WIDTH - 40) / max(float(high[0] - low[0]), 5.0)
    height = int(np.clip((high[1] - low[1]) * scale + 60, 90, 460))
    if height == 460:
        scale = min(scale, (height - 60) / max(float(high[1] - low[1]), 0.5))
    middle = height / 2 + (low[1] + high[1]) / 2 * scale

    def line(points: NDArray[np.float64], style: str) -> str:
        at = points @ turn
        words = " ".join(f"{20 + (x - low[0]) * scale:.1f},{middle - y * scale:.1f}" for x, y in at)
        return f'<polyline points="{words}" fill="none" {style}/>'

    parts = [line(driven, 'stroke="var(--line)" stroke-width="7" stroke-linecap="round"')]
    parts += [
        line(
            np.concatenate([tick.pose_odom_from_ego[None, :2, 3], tick.path_m[:, :2]]),
            'stroke="var(--path)" stroke-width="1.6" opacity="0.75"',
        )
        for tick in chosen
    ]
    bar = round_up((high[0] - low[0]) / 8)
    parts.append(
        f'<line x1="20" x2="{20 + bar * scale:.1f}" y1="{height - 14}" y2="{height - 14}" '
        f'stroke="var(--faint)" stroke-width="2"/><text x="{26 + bar * scale:.1f}" '
        f'y="{height - 10}">{bar:g} m</text>'
    )
    return _svg(height, parts)


class _Axis:
    """Places ticks along the drive's time."""

    def __init__(self, own: Sequence[TickView], height: int) -> None:
        self._start = own[0].t0_ns if own else 0
        steps = np.diff([tick.t0_ns for tick in own])
        self._step = float(np.median(steps)) if len(steps) else 2e8
        last = own[-1].t0_ns if own else 0
        self._span = max(1.0, last - self._start + self._step)
        self._height = height

    def slot(self, tick: TickView) -> tuple[float, float]:
        """Left edge and width of a tick's bar."""
        wide = (_WIDTH - _LEFT - _RIGHT) / self._span
        return _LEFT + (tick.t0_ns - self._start) * wide, max(1.0, self._step * wide * 0.82)

    def time_labels(self, base: float) -> str:
        seconds = self._span / 1e9
        step = round_up(seconds / 8)
        words = []
        for value in np.arange(0, seconds, step):
            x = _LEFT + value / seconds * (_WIDTH - _LEFT - _RIGHT)
            words.append(f'<text x="{x:.1f}" y="{base + 17:.1f}">{value:g} s</text>')
        return "".join(words)


def _own(ticks: Sequence[TickView]) -> list[TickView]:
    return [tick for tick in ticks if tick.source == PlanSource.MODEL]


def _one_a_second(own: Sequence[TickView]) -> list[TickView]:
    chosen: list[TickView] = []
    for tick in own:
        if len(tick.path_m) and (not chosen or tick.t0_ns - chosen[-1].t0_ns >= 999_000_000):
            chosen.append(tick)
    return chosen


def _turn_to_horizontal(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A (2, 2) turn, applied from the right, that lays the drive's long axis flat."""
    along = points[-1] - points[0]
    length = float(np.hypot(*along))
    cos, sin = (along / length) if length > 1e-6 else (1.0, 0.0)
    return np.array([[cos, -sin], [sin, cos]])


def _svg(height: int, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" xmlns="http://www.w3.org/2000/svg">'
        + "".join(parts)
        + "</svg>"
    )
