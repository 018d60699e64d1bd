"""A path in the odometry frame, with its time: what is checked, followed and published.

Plain arrays; built from an answer of the model or from the car's own motion. It assumes a
car that moves along its heading, and knows nothing of lanes or obstacles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsd_planner.planning.ego_history import rotation_matrix, yaw_of
from rsd_planner.types import NANOSECONDS, EgoState, PlanResult

__all__ = ["TimedPath", "arc_path", "moved_to", "path_of", "stop_along", "turned_rad"]

STEP_S = 0.1
STANDING_MPS = 0.05
TURNED_RAD = 0.7  # more between a path and the car, and it is not the car's path


@dataclass(frozen=True)
class TimedPath:
    """Poses of the base in the odometry frame at increasing times; all arrays have n rows."""

    time_ns: NDArray[np.int64]
    position_m: NDArray[np.float64]  # (n, 3)
    yaw_rad: NDArray[np.float64]
    speed_mps: NDArray[np.float64]
    acceleration_mps2: NDArray[np.float64]
    curvature_1pm: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.time_ns)

    def after(self, now_ns: int) -> TimedPath:
        """The points that are still to come."""
        keep = self.time_ns > now_ns
        return TimedPath(
            self.time_ns[keep],
            self.position_m[keep],
            self.yaw_rad[keep],
            self.speed_mps[keep],
            self.acceleration_mps2[keep],
            self.curvature_1pm[keep],
        )

    def heading_at(self, now_ns: int) -> float:
        """Where the path heads at an instant [rad]; its ends beyond its span."""
        return float(np.interp(now_ns, self.time_ns, np.unwrap(self.yaw_rad)))

    def position_at(self, now_ns: int) -> NDArray[np.float64]:
        """Where the path is at an instant (3,); its ends beyond its span."""
        columns = [np.interp(now_ns, self.time_ns, self.position_m[:, i]) for i in range(3)]
        return np.array(columns)


def path_of(result: PlanResult) -> TimedPath:
    """The model's path in the odometry frame, with the ego pose at t0 as its first point."""
    trajectory, ego = result.trajectory, result.ego
    points = len(trajectory.position_m)
    step_ns = trajectory.step_s * NANOSECONDS
    rotation = rotation_matrix(ego.orientation_xyzw)
    local = np.vstack([np.zeros((1, 3)), trajectory.position_m])  # (points + 1, 3)
    heading = np.concatenate([[0.0], trajectory.heading_rad])
    return TimedPath(
        result.t0_ns + np.round(step_ns * np.arange(points + 1)).astype(np.int64),
        ego.position_m + local @ rotation.T,
        _wrapped(yaw_of(ego.orientation_xyzw) + heading),
        np.concatenate([[float(ego.linear_mps[0])], trajectory.speed_mps]),
        np.concatenate([trajectory.acceleration_mps2[:1], trajectory.acceleration_mps2]),
        np.concatenate([trajectory.curvature_1pm[:1], trajectory.curvature_1pm]),
    )


def turned_rad(one: float, other: float) -> float:
    """The angle between two headings, from 0 to π."""
    return abs(float(np.arctan2(np.sin(one - other), np.cos(one - other))))


def moved_to(ego: EgoState, now_ns: int, most_turn_radps: float) -> EgoState:
    """Where the car is at `now_ns` by the twist of its last odometry.

    Back in time too: stamps may run ahead of a lagging clock, and paths are timed by the clock.
    A yaw rate beyond `most_turn_radps`, which the tyres cannot hold, counts as that.
    """
    dt_s = (now_ns - ego.stamp_ns) / NANOSECONDS
    if dt_s == 0.0:
        return ego
    rate = float(np.clip(ego.angular_radps[2], -most_turn_radps, most_turn_radps))
    yaw, turn = yaw_of(ego.orientation_xyzw), rate * dt_s
    middle = yaw + 0.5 * turn
    step_m = float(ego.linear_mps[0]) * dt_s
    position = ego.position_m + step_m * np.array([np.cos(middle), np.sin(middle), 0.0])
    half = 0.5 * (yaw + turn)
    return replace(
        ego,
        stamp_ns=now_ns,
        position_m=position,
        orientation_xyzw=np.array([0.0, 0.0, np.sin(half), np.cos(half)]),
    )


def stop_along(path: TimedPath, ego: EgoState, now_ns: int, deceleration_mps2: float) -> TimedPath:
    """A stop from the present speed along the line of `path`, then standing for a second.

    The line starts at its point nearest to the ego; beyond its end it goes on straight.
    Times start at `now_ns`. The deceleration is constant, so it is never exceeded.
    """
    speed = max(0.0, float(ego.linear_mps[0]))
    arc, line, yaw, curvature = _line_from(path, ego, speed * speed / (2 * deceleration_mps2))
    moving_s = speed / deceleration_mps2
    time_s = STEP_S * np.arange(1, int(np.ceil(moving_s / STEP_S)) + 11)  # (n,)
    braking_s = np.minimum(time_s, moving_s)
    along = speed * braking_s - 0.5 * deceleration_mps2 * braking_s**2
    speeds = np.maximum(speed - deceleration_mps2 * time_s, 0.0)
    return TimedPath(
        now_ns + np.round(time_s * NANOSECONDS).astype(np.int64),
        np.stack([np.interp(along, arc, line[:, i]) for i in range(3)], axis=1),
        _wrapped(np.interp(along, arc, np.unwrap(yaw))),
        speeds,
        np.where(time_s <= moving_s + STEP_S, -deceleration_mps2 * (speed > STANDING_MPS), 0.0),
        np.interp(along, arc, curvature),
    )


def arc_path(ego: EgoState, max_curvature_1pm: float) -> TimedPath:
    """Six seconds of going on at the present speed and yaw rate, from the ego pose."""
    speed = max(0.0, float(ego.linear_mps[0]))
    curvature = float(ego.angular_radps[2]) / speed if speed > 0.5 else 0.0
    curvature = float(np.clip(curvature, -max_curvature_1pm, max_curvature_1pm))
    time_s = STEP_S * np.arange(61)
    turn = curvature * speed * time_s  # (61,)
    if abs(curvature) < 1e-6:
        x, y = speed * time_s, np.zeros(61)
    else:
        x, y = np.sin(turn) / curvature, (1.0 - np.cos(turn)) / curvature
    yaw = yaw_of(ego.orientation_xyzw)
    position = np.stack(
        [
            ego.position_m[0] + np.cos(yaw) * x - np.sin(yaw) * y,
            ego.position_m[1] + np.sin(yaw) * x + np.cos(yaw) * y,
            np.full(61, ego.position_m[2]),
        ],
        axis=1,
    )
    return TimedPath(
        ego.stamp_ns + np.round(time_s * NANOSECONDS).astype(np.int64),
        position,
        _wrapped(yaw + turn),
        np.full(61, speed),
        np.zeros(61),
        np.full(61, curvature),
    )


def _line_from(
    path: TimedPath, ego: EgoState, need_m: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Arc length, points, yaw and curvature of a path's line from the ego on, `need_m` long."""
    start = int(np.argmin(np.linalg.norm(path.position_m - ego.position_m, axis=1)))
    heading = path.yaw_rad[start]
    forward = np.array([np.cos(heading), np.sin(heading), 0.0])
    offset = ego.position_m - path.position_m[start]
    ahead = -float(offset @ forward)
    if ahead <= 0.0 and start + 1 < len(path):
        start += 1  # the nearest point is behind: begin with the next one
    # The line is moved sideways to the ego instead of bending to it, which would be a kink.
    sideways = offset + ahead * forward
    line = np.vstack([ego.position_m, path.position_m[start:] + sideways])
    yaw = np.concatenate([[yaw_of(ego.orientation_xyzw)], path.yaw_rad[start:]])
    curvature = np.concatenate([path.curvature_1pm[start : start + 1], path.curvature_1pm[start:]])
    onward = np.array([np.cos(yaw[-1]), np.sin(yaw[-1]), 0.0])
    line = np.vstack([line, line[-1] + (need_m + 1.0) * onward])
    yaw, curvature = np.append(yaw, yaw[-1]), np.append(curvature, 0.0)
    arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    distinct = np.concatenate([[True], np.diff(arc) > 1e-6])
    return arc[distinct], line[distinct], yaw[distinct], curvature[distinct]


def _wrapped(angle: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    wrapped: NDArray[np.float64] = np.arctan2(np.sin(angle), np.cos(angle))
    return wrapped
