"""The ego's way as a frame: distance `s` along the network's path and offset `d` to its left.

Many points at once; `RoadNetwork.path` is the same line asked one place at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.network import Edge, RoadNetwork

__all__ = ["Stretch", "Way"]

_STEP_M = 1.0
_COARSE = 6  # every so many points are tried first to find the nearest


@dataclass(frozen=True)
class Stretch:
    """One edge of the route."""

    edge: Edge
    start_m: float
    end_m: float
    path_lane: int  # the lane of the path, counted from the right

    @property
    def edge_id(self) -> str:
        return self.edge.edge_id

    @property
    def lanes(self) -> range:
        """The lanes that go on, counted from the right."""
        return range(self.edge.extra_lanes, len(self.edge.lanes))

    def like(self, lane: int, other: Stretch) -> int:
        """The lane here that goes on as that lane of another stretch."""
        return lane - other.path_lane + self.path_lane

    def lane_d(self, lane: int) -> float:
        """The middle of a lane, left of the path."""
        return (lane - self.path_lane) * self.edge.lane_width_m


class Way:
    """The frame along a network's route."""

    def __init__(self, road: RoadNetwork) -> None:
        self.road = road
        self.stretches = tuple(
            Stretch(edge, road.starts_m[name], road.ends_m[name], road.path_lanes[name])
            for name, edge in zip(road.route, road.forward, strict=True)
        )
        path = road.path
        self.length_m = path.length_m
        self._s = np.arange(0.0, path.length_m, _STEP_M)
        self._points = np.stack(
            [np.interp(self._s, path.along_m, path.points[:, k]) for k in (0, 1)], axis=1
        )  # (n, 2)
        self._yaw = np.array([path.heading(float(s)) for s in self._s])
        self._widths = {s.edge_id: self._left_kerb(s) for s in self.stretches}

    def _left_kerb(self, stretch: Stretch) -> float:
        """Where the asphalt ends on the left, left of the path."""
        edge = stretch.edge
        own = stretch.lane_d(len(edge.lanes) - 1) + edge.lane_width_m / 2
        twin = f"b{stretch.edge_id[1:]}"
        if edge.role != "forward" or twin not in self.road.backward:
            return own + edge.paved_m
        other = self.road.edge(twin)
        _, d = self.project(other.lanes[0][len(other.lanes[0]) // 2][None])
        return float(d[0]) + other.lane_width_m / 2 + other.paved_m

    def at(self, s_m: float, d_m: float = 0.0) -> tuple[float, float, float]:
        """x, y, yaw of a place."""
        x = float(np.interp(s_m, self._s, self._points[:, 0]))
        y = float(np.interp(s_m, self._s, self._points[:, 1]))
        yaw = self.yaw(s_m)
        return x - d_m * float(np.sin(yaw)), y + d_m * float(np.cos(yaw)), yaw

    def yaw(self, s_m: float) -> float:
        """Where the way leads to, there."""
        return float(np.interp(s_m, self._s, self._yaw))

    def project(
        self, points_m: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """s and d, (n,) each, of points (n, 2)."""
        coarse = self._points[::_COARSE]
        apart = points_m[:, None, :] - coarse[None]
        near = np.argmin((apart**2).sum(axis=2), axis=1) * _COARSE
        around = near[:, None] + np.arange(-_COARSE, _COARSE + 1)[None]
        around = np.clip(around, 0, len(self._s) - 1)  # (n, 2 coarse + 1)
        apart = points_m[:, None, :] - self._points[around]
        best = around[np.arange(len(points_m)), np.argmin((apart**2).sum(axis=2), axis=1)]
        offset = points_m - self._points[best]
        cos, sin = np.cos(self._yaw[best]), np.sin(self._yaw[best])
        along = offset[:, 0] * cos + offset[:, 1] * sin
        return self._s[best] + along, -offset[:, 0] * sin + offset[:, 1] * cos

    def stretch_at(self, s_m: float) -> Stretch | None:
        """The edge there; none on a junction."""
        return next((x for x in self.stretches if x.start_m <= s_m <= x.end_m), None)

    def stretch_near(self, s_m: float) -> Stretch:
        """The edge there, or the next after a junction."""
        return next((x for x in self.stretches if s_m <= x.end_m), self.stretches[-1])

    def inside(self, s_m: float, before_m: float, after_m: float) -> bool:
        """Whether an edge of the main road holds a place and so much around it."""
        stretch = self.stretch_at(s_m)
        return (
            stretch is not None
            and stretch.edge.is_main
            and stretch.start_m + before_m <= s_m <= stretch.end_m - after_m
        )

    def kerbs(self, s_m: float) -> tuple[float, float]:
        """Where the asphalt ends on the right and on the left, left of the path."""
        stretch = self.stretch_near(s_m)
        edge = stretch.edge
        right = stretch.lane_d(0) - edge.lane_width_m / 2 - edge.paved_m
        return right, self._widths[stretch.edge_id]

    def middle(self, s_m: float) -> float:
        """Where the lanes forward end on the left, left of the path."""
        stretch = self.stretch_near(s_m)
        return stretch.lane_d(len(stretch.edge.lanes) - 1) + stretch.edge.lane_width_m / 2
