"""Puts the messages of a tick back together into one `TickView`.

Trajectory, reasoning and decode statistics come on three topics in any order; what belongs
together carries the same tick number. Reads attributes only, so it runs without ROS.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsd_planner.types import (
    Decision,
    EgoState,
    PlanSource,
    Span,
    SpanKind,
    SpanSource,
)
from rsd_planner.viz.tick_view import TickView, pose_matrix

__all__ = ["TickAssembler", "stamp_ns_of"]

_PENDING_TICKS = 20

PoseAt = Callable[[int], "NDArray[np.float64] | None"]


class TickAssembler:
    """Collects messages; every `add_…` returns the finished tick or None.

    `pose_at` gives the (4, 4) pose of the ego frame in the odometry frame at a stamp.
    """

    def __init__(self, pose_at: PoseAt) -> None:
        self._pose_at = pose_at
        self._pending: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def add_trajectory(self, message: Any) -> TickView | None:
        """A `PlannedTrajectory`. One of the fallback is a whole tick by itself."""
        if message.source != PlanSource.MODEL:
            return self._view(message, None, None)
        return self._add(message.plan_tick, "trajectory", message)

    def add_reasoning(self, message: Any) -> TickView | None:
        """A `Reasoning`."""
        return self._add(message.tick, "reasoning", message)

    def add_stats(self, message: Any) -> TickView | None:
        """A `DecodeStats`."""
        return self._add(message.tick, "stats", message)

    def _add(self, tick: int, kind: str, message: Any) -> TickView | None:
        parts = self._pending.setdefault(int(tick), {})
        parts[kind] = message
        if len(parts) == 3:
            del self._pending[int(tick)]
            return self._view(parts["trajectory"], parts["reasoning"], parts["stats"])
        while len(self._pending) > _PENDING_TICKS:
            self._pending.popitem(last=False)
        return None

    def _view(self, trajectory: Any, reasoning: Any | None, stats: Any | None) -> TickView:
        t0_ns = stamp_ns_of(trajectory.header.stamp)
        # The ego pose at t0 may lead the list; the view's path begins one step after it.
        points = [p for p in trajectory.points if stamp_ns_of(p.time_from_start) > 0]
        step_s = _step_of(points)
        poses = [point.pose for point in points]
        positions = [(p.position.x, p.position.y, p.position.z) for p in poses]
        headings = [2.0 * np.arctan2(p.orientation.z, p.orientation.w) for p in poses]
        path = np.asarray(positions, np.float64).reshape(-1, 3)
        pose = self._pose_at(t0_ns)
        if pose is None:
            pose = _pose_of_start(path, headings)
        return TickView(
            tick=int(reasoning.tick if reasoning else trajectory.tick),
            t0_ns=t0_ns,
            text=reasoning.text if reasoning else "",
            spans=tuple(_span_of(span) for span in reasoning.spans) if reasoning else (),
            decision=Decision(reasoning.decision) if reasoning else Decision.UNKNOWN,
            source=PlanSource(trajectory.source),
            path_m=path,
            heading_rad=np.asarray(headings, np.float64),
            speed_mps=np.asarray([p.longitudinal_velocity_mps for p in points], np.float64),
            pose_odom_from_ego=pose,
            step_s=step_s,
            skipped_points=_skipped(points, step_s),
            agrees_with_trajectory=bool(reasoning.agrees_with_trajectory) if reasoning else True,
            **(_numbers_of(stats) if stats else {}),
        )


def stamp_ns_of(stamp: Any) -> int:
    """Nanoseconds of a `builtin_interfaces/Time` or `Duration`."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _pose_of_start(path: NDArray[np.float64], headings: list[float]) -> NDArray[np.float64]:
    """Where no odometry was seen: the path's first point stands for the ego pose."""
    if len(path) == 0:
        return np.eye(4)
    yaw = headings[0]
    state = EgoState(
        0, path[0], np.array([0, 0, np.sin(yaw / 2), np.cos(yaw / 2)]), np.zeros(3), np.zeros(3)
    )
    return pose_matrix(state)


def _step_of(points: Any) -> float:
    if len(points) < 2:
        return 0.1
    first, second = (stamp_ns_of(point.time_from_start) for point in points[:2])
    return max(1e-3, (second - first) / 1e9)


def _skipped(points: Any, step_s: float) -> int:
    """How many points before the first one were dropped because they had passed."""
    if len(points) == 0:
        return 0
    return max(0, round(stamp_ns_of(points[0].time_from_start) / 1e9 / step_s) - 1)


def _span_of(span: Any) -> Span:
    return Span(
        start=int(span.start),
        end=int(span.end),
        tokens=int(span.tokens),
        source=SpanSource(span.source),
        kind=SpanKind(span.kind),
    )


def _numbers_of(stats: Any) -> dict[str, Any]:
    names = ("vision_ms", "prefill_ms", "reasoning_ms", "head_ms", "total_ms", "plain_ms_estimate")
    counts = ("tokens", "proposed", "accepted", "target_forwards")
    return {
        "drafter": stats.drafter,
        "rule": stats.rule,
        **{name: float(getattr(stats, name)) for name in names},
        **{name: int(getattr(stats, name)) for name in counts},
    }
