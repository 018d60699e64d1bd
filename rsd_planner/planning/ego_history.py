"""The ego history: odometry resampled by time on the grid that the model was trained on.

Positions are interpolated linearly and rotations by slerp, so that the rate and jitter of
the messages do not show. It does not extrapolate: an instant outside the recorded span, or
within a hole of it, has no pose.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rsd_planner.types import NANOSECONDS, EgoHistory, EgoState

__all__ = ["OdometryTrack", "rotation_matrix", "yaw_of"]


class OdometryTrack:
    """Ego states in order of time, as arrays that are fast to interpolate.

    Raises ValueError when the stamps do not strictly increase.
    """

    def __init__(self, states: Sequence[EgoState]) -> None:
        self.stamps_ns = np.array([s.stamp_ns for s in states], dtype=np.int64)  # (n,)
        if len(states) > 1 and not np.all(np.diff(self.stamps_ns) > 0):
            raise ValueError("odometry stamps must strictly increase")
        self._position = _stack([s.position_m for s in states], 3)
        self._rotation = _stack([s.orientation_xyzw for s in states], 4)
        self._linear = _stack([s.linear_mps for s in states], 3)
        self._angular = _stack([s.angular_radps for s in states], 3)

    def at(self, stamps_ns: NDArray[np.int64], max_gap_s: float) -> list[EgoState] | None:
        """The states at these instants (n,), or None where odometry is missing.

        An instant between two messages that are further apart than `max_gap_s` is missing.
        """
        if len(self.stamps_ns) == 0:
            return None
        if stamps_ns.min() < self.stamps_ns[0] or stamps_ns.max() > self.stamps_ns[-1]:
            return None
        right = np.searchsorted(self.stamps_ns, stamps_ns, side="left")  # (n,)
        left = np.where(self.stamps_ns[right] == stamps_ns, right, right - 1)
        gap_ns = self.stamps_ns[right] - self.stamps_ns[left]
        if np.any(gap_ns > max_gap_s * NANOSECONDS):
            return None
        share = (stamps_ns - self.stamps_ns[left]) / np.maximum(gap_ns, 1)  # (n,) in [0, 1]
        position = _lerp(self._position, left, right, share)
        linear = _lerp(self._linear, left, right, share)
        angular = _lerp(self._angular, left, right, share)
        rotation = slerp(self._rotation[left], self._rotation[right], share)
        return [
            EgoState(int(stamps_ns[i]), position[i], rotation[i], linear[i], angular[i])
            for i in range(len(stamps_ns))
        ]

    def history(self, t0_ns: int, steps: int, step_s: float, max_gap_s: float) -> EgoHistory | None:
        """`steps` poses that end at t0, seen from the pose at t0; None where one is missing."""
        step_ns = round(step_s * NANOSECONDS)
        grid = t0_ns + step_ns * np.arange(1 - steps, 1, dtype=np.int64)  # (steps,)
        states = self.at(grid, max_gap_s)
        if states is None:
            return None
        now = states[-1]
        odometry_from_ego = rotation_matrix(
            np.stack([s.orientation_xyzw for s in states])
        )  # (steps, 3, 3)
        ego_from_odometry = odometry_from_ego[-1].T
        offset = np.stack([s.position_m for s in states]) - now.position_m  # (steps, 3)
        position = offset @ ego_from_odometry.T
        rotation = ego_from_odometry @ odometry_from_ego
        rotation[-1] = np.eye(3)
        return EgoHistory(t0_ns, step_s, position, rotation, now)


def _stack(rows: Sequence[NDArray[np.float64]], width: int) -> NDArray[np.float64]:
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)


def _lerp(
    values: NDArray[np.float64],
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    share: NDArray[np.float64],
) -> NDArray[np.float64]:
    return values[left] + share[:, None] * (values[right] - values[left])


def slerp(
    start: NDArray[np.float64], end: NDArray[np.float64], share: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Spherical interpolation of unit quaternions (n, 4) by `share` (n,), the short way round."""
    dot = np.sum(start * end, axis=1)
    end = np.where(dot[:, None] < 0.0, -end, end)
    angle = np.arccos(np.clip(np.abs(dot), 0.0, 1.0))  # (n,)
    sine = np.sin(angle)
    small = sine < 1e-6  # there slerp is a 0/0 whose limit is lerp
    safe = np.where(small, 1.0, sine)
    weight_start = np.where(small, 1.0 - share, np.sin((1.0 - share) * angle) / safe)
    weight_end = np.where(small, share, np.sin(share * angle) / safe)
    mixed = weight_start[:, None] * start + weight_end[:, None] * end
    unit: NDArray[np.float64] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    return unit


def rotation_matrix(xyzw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rotation matrices (..., 3, 3) of unit quaternions (..., 4) in the order x y z w."""
    x, y, z, w = np.moveaxis(xyzw, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def yaw_of(xyzw: NDArray[np.float64]) -> float:
    """Heading of a unit quaternion about z [rad]."""
    x, y, z, w = (float(v) for v in xyzw)
    return float(np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z)))
