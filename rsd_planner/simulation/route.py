"""A path as a curve over its length, and the sharp curves on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Curve", "RoutePath", "find_curves", "shift_left"]

_COMFORT_MPS2 = 2.0
_SHARP_RADIUS_M = 90.0
_SHARP_TURN_RAD = 0.35
_STEP_M = 1.0


def shift_left(line: NDArray[np.float64], offset_m: float) -> NDArray[np.float64]:
    """A polyline (points, 2) moved sideways, corner by corner."""
    tangent = np.gradient(line, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    return line + offset_m * np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)


@dataclass(frozen=True)
class Curve:
    """A stretch of a path that is too sharp for the speed of the road."""

    start_m: float  # along the path
    end_m: float
    radius_m: float  # the smallest
    side: str  # left or right: where it turns to
    speed_mps: float  # at which a car takes it in comfort


class RoutePath:
    """A polyline that is asked by arc length. Distances outside it are clipped to its ends.

    The path of a network counts as SUMO does, whose lengths of lanes side by side are the same.
    """

    def __init__(
        self, points: NDArray[np.float64], along_m: NDArray[np.float64] | None = None
    ) -> None:
        """Takes points (n, 2) and where they are along the path (n,), if not by their distances.

        Neighbours that coincide are dropped.
        """
        if along_m is None:
            steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
            along_m = np.concatenate([[0.0], np.cumsum(steps)])
        keep = np.concatenate([[True], np.diff(along_m) > 1e-3])
        self.points = points[keep]  # (points, 2)
        self.along_m = along_m[keep]  # (points,)
        directions = np.diff(self.points, axis=0)
        turns = np.unwrap(np.arctan2(directions[:, 1], directions[:, 0]))
        self._middles_m = (self.along_m[:-1] + self.along_m[1:]) / 2
        self._headings = turns

    @property
    def length_m(self) -> float:
        """From its first to its last point."""
        return float(self.along_m[-1])

    def position(self, distance_m: float) -> NDArray[np.float64]:
        """The point at an arc length."""  # (2,)
        return np.array([np.interp(distance_m, self.along_m, self.points[:, k]) for k in (0, 1)])

    def heading(self, distance_m: float) -> float:
        """The direction at an arc length, radians, unwrapped, smooth over the corners."""
        return float(np.interp(distance_m, self._middles_m, self._headings))

    def beside(self, distance_m: float, left_m: float) -> NDArray[np.float64]:
        """The point at an arc length, moved to the left."""  # (2,)
        heading = self.heading(distance_m)
        return self.position(distance_m) + left_m * np.array([-np.sin(heading), np.cos(heading)])

    def nearest(
        self, point: NDArray[np.float64], low_m: float = 0.0, high_m: float = np.inf
    ) -> tuple[float, float]:
        """Arc length of the nearest place between `low_m` and `high_m`; how far left it lies."""
        first = max(0, int(np.searchsorted(self.along_m, low_m)) - 1)
        last = min(len(self.points), int(np.searchsorted(self.along_m, high_m)) + 1)
        points = self.points[first : max(last, first + 2)]
        step = np.diff(points, axis=0)
        length = np.linalg.norm(step, axis=1)
        share = np.clip(((point - points[:-1]) * step).sum(axis=1) / length**2, 0.0, 1.0)
        away = point - (points[:-1] + share[:, None] * step)
        best = int(np.argmin((away**2).sum(axis=1)))
        cross = step[best, 0] * away[best, 1] - step[best, 1] * away[best, 0]
        low, high = self.along_m[first + best : first + best + 2]
        distance = float(low + share[best] * (high - low))
        return distance, float(np.copysign(np.linalg.norm(away[best]), cross))

    def cut(self, start_m: float, end_m: float) -> NDArray[np.float64]:
        """The points from one arc length to another, both ends included."""  # (points, 2)
        inside = (self.along_m > start_m + 1e-6) & (self.along_m < end_m - 1e-6)
        ends = self.position(start_m)[None], self.position(end_m)[None]
        return np.concatenate([ends[0], self.points[inside], ends[1]])

    def shifted(self, left_m: float) -> RoutePath:
        """The path beside this one, with the same arc lengths."""
        return RoutePath(shift_left(self.points, left_m), self.along_m)


def find_curves(path: RoutePath) -> tuple[Curve, ...]:
    """Every stretch that turns one way within a small radius, in order."""
    at = np.arange(0.0, path.length_m, _STEP_M)
    headings = np.array([path.heading(float(s)) for s in at])
    # Over ten metres, so that the corners of the polyline do not count.
    curvature = (np.roll(headings, -5) - np.roll(headings, 5)) / (10 * _STEP_M)
    curvature[:5] = curvature[-5:] = 0.0
    side = np.where(np.abs(curvature) > 1 / _SHARP_RADIUS_M, np.sign(curvature), 0.0)
    changes = np.flatnonzero(np.diff(side)) + 1
    curves = []
    for part in np.split(np.arange(len(at)), changes):
        turn = float(np.abs(curvature[part]).sum() * _STEP_M)
        if side[part[0]] == 0 or turn < _SHARP_TURN_RAD:
            continue
        radius = 1.0 / float(np.abs(curvature[part]).max())
        curves.append(
            Curve(
                start_m=float(at[part[0]]),
                end_m=float(at[part[-1]]),
                radius_m=radius,
                side="left" if side[part[0]] > 0 else "right",
                speed_mps=float(np.sqrt(_COMFORT_MPS2 * radius)),
            )
        )
    return tuple(curves)
