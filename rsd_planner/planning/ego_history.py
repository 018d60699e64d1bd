"""The ego history: odometry resampled by time on the grid that the model was trained on.

Positions are interpolated linearly and rotations by slerp, so that the rate and jitter of
the messages do not show. Where messages are lacking, the twists on both sides tell how the car
moved in between, if they explain the way that it made. It does not extrapolate: an instant
outside the recorded span, or within a longer hole of it, has no pose.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rsd_planner.types import NANOSECONDS, EgoHistory, EgoState

__all__ = ["OdometryRing", "OdometryTrack", "rotation_matrix", "yaw_of"]

_POSITION, _ROTATION = slice(0, 3), slice(3, 7)  # columns of a state's numbers
_LINEAR, _ANGULAR = slice(7, 10), slice(10, 13)
CHORD_S = 0.15  # between messages no further apart a straight line is as good as a curve
# What a car can do between two messages; a cubic through both poses and twists is then off by
# J t^3 / 124 at the most, and the way is off the mean twist by J t^3 / 12.
JERK_MPS3, SLACK_M = 10.0, 0.1
YAW_JERK_RADPS3, SLACK_RAD = 2.0, 0.05


class OdometryRing:
    """The newest states as rows of one array, so that a track of them costs no copying."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._stamps_ns = np.zeros(2 * capacity, np.int64)
        self._numbers = np.zeros((2 * capacity, 13))
        self._start = self._end = 0
        self.newest: EgoState | None = None
        self.cuts = 0  # how often states were taken back

    def __len__(self) -> int:
        return self._end - self._start

    def append(self, state: EgoState) -> None:
        """Takes a state; its stamp must be newer than that of the one before."""
        if self._end == len(self._stamps_ns):
            kept = slice(self._end - self._capacity, self._end)
            self._stamps_ns[: self._capacity] = self._stamps_ns[kept]
            self._numbers[: self._capacity] = self._numbers[kept]
            self._start, self._end = 0, self._capacity
        row = self._numbers[self._end]
        row[_POSITION], row[_ROTATION] = state.position_m, state.orientation_xyzw
        row[_LINEAR], row[_ANGULAR] = state.linear_mps, state.angular_radps
        self._stamps_ns[self._end] = state.stamp_ns
        self._end += 1
        self._start = max(self._start, self._end - self._capacity)
        self.newest = state

    def clear(self) -> None:
        """Forgets all."""
        self.cuts += 1
        self._start = self._end = 0
        self.newest = None

    def forget_after(self, stamp_ns: int) -> None:
        """Forgets the states that are newer."""
        self.cuts += 1
        stamps = self._stamps_ns[self._start : self._end]
        self._end = self._start + int(np.searchsorted(stamps, stamp_ns, side="right"))
        last = self._end - 1
        self.newest = (
            _state(self._stamps_ns[last], self._numbers[last].copy()) if len(self) else None
        )

    def first_ns(self) -> int:
        """The oldest stamp. Raises IndexError when there is none."""
        if not len(self):
            raise IndexError("no states")
        return int(self._stamps_ns[self._start])

    def track_since(self, stamp_ns: int) -> OdometryTrack:
        """The states from an instant on."""
        stamps = self._stamps_ns[self._start : self._end]
        first = self._start + int(np.searchsorted(stamps, stamp_ns, side="left"))
        return OdometryTrack.of_rows(
            self._stamps_ns[first : self._end], self._numbers[first : self._end]
        )


class OdometryTrack:
    """Ego states in order of time, as arrays that are fast to interpolate.

    Raises ValueError when the stamps do not strictly increase.
    """

    def __init__(self, states: Sequence[EgoState]) -> None:
        self.stamps_ns = np.array([s.stamp_ns for s in states], dtype=np.int64)  # (n,)
        if len(states) > 1 and not np.all(np.diff(self.stamps_ns) > 0):
            raise ValueError("odometry stamps must strictly increase")
        self._numbers = np.hstack(
            [
                _stack([s.position_m for s in states], 3),
                _stack([s.orientation_xyzw for s in states], 4),
                _stack([s.linear_mps for s in states], 3),
                _stack([s.angular_radps for s in states], 3),
            ]
        )  # (n, 13)

    @classmethod
    def of_rows(cls, stamps_ns: NDArray[np.int64], numbers: NDArray[np.float64]) -> OdometryTrack:
        """A view of rows (n, 13): position, orientation x y z w, linear and angular twist."""
        track = cls.__new__(cls)
        track.stamps_ns, track._numbers = stamps_ns, numbers
        return track

    def at(self, stamps_ns: NDArray[np.int64], max_gap_s: float) -> list[EgoState] | None:
        """The states at these instants (n,), or None where odometry is missing.

        An instant between two messages is missing if they are further apart than `max_gap_s`,
        or than CHORD_S without their twists explaining the way between them.
        """
        rows = self._rows_at(stamps_ns, max_gap_s)
        return None if rows is None else [_state(s, r) for s, r in zip(stamps_ns, rows)]

    def history(self, t0_ns: int, steps: int, step_s: float, max_gap_s: float) -> EgoHistory | None:
        """`steps` poses that end at t0, seen from the pose at t0; None where one is missing."""
        step_ns = round(step_s * NANOSECONDS)
        grid = t0_ns + step_ns * np.arange(1 - steps, 1, dtype=np.int64)  # (steps,)
        rows = self._rows_at(grid, max_gap_s)
        if rows is None:
            return None
        odometry_from_ego = rotation_matrix(rows[:, _ROTATION])  # (steps, 3, 3)
        ego_from_odometry = odometry_from_ego[-1].T
        offset = rows[:, _POSITION] - rows[-1, _POSITION]  # (steps, 3)
        position = offset @ ego_from_odometry.T
        rotation = ego_from_odometry @ odometry_from_ego
        rotation[-1] = np.eye(3)
        return EgoHistory(t0_ns, step_s, position, rotation, _state(t0_ns, rows[-1]))

    def _rows_at(
        self, stamps_ns: NDArray[np.int64], max_gap_s: float
    ) -> NDArray[np.float64] | None:
        """Interpolated numbers (n, 13), or None where odometry is missing."""
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
        before, after = self._numbers[left], self._numbers[right]
        rows: NDArray[np.float64] = before + share[:, None] * (after - before)
        rows[:, _ROTATION] = slerp(before[:, _ROTATION], after[:, _ROTATION], share)
        hole = gap_ns > CHORD_S * NANOSECONDS
        if np.any(hole):
            gap_s = gap_ns[hole, None] / NANOSECONDS
            bridge = _bridge(before[hole], after[hole], share[hole, None], gap_s)
            if bridge is None:
                return None
            rows[hole, :7] = bridge
        return rows


def _state(stamp_ns: int | np.int64, row: NDArray[np.float64]) -> EgoState:
    return EgoState(int(stamp_ns), row[_POSITION], row[_ROTATION], row[_LINEAR], row[_ANGULAR])


def _bridge(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    share: NDArray[np.float64],
    gap_s: NDArray[np.float64],
) -> NDArray[np.float64] | None:
    """Poses (n, 7) between rows (n, 13), by cubics through poses and twists.

    `share` and `gap_s` are (n, 1). None where a way or a turn is not what the twists say: then
    one of the two is wrong.
    """
    turns = [rotation_matrix(rows[:, _ROTATION]) for rows in (before, after)]
    way = after[:, _POSITION] - before[:, _POSITION]
    speeds = [
        np.einsum("nij,nj->ni", turn, rows[:, _LINEAR])
        for turn, rows in zip(turns, (before, after), strict=True)
    ]
    turned = rotation_vector(turns[0].transpose(0, 2, 1) @ turns[1])  # (n, 3) in the ego frame
    rates = [before[:, _ANGULAR], after[:, _ANGULAR]]
    for moved, slopes, jerk, slack in (
        (way, speeds, JERK_MPS3, SLACK_M),
        (turned, rates, YAW_JERK_RADPS3, SLACK_RAD),
    ):
        surprise = np.linalg.norm(moved - 0.5 * (slopes[0] + slopes[1]) * gap_s, axis=1)
        if np.any(surprise > jerk * gap_s[:, 0] ** 3 / 12.0 + slack):
            return None
    position = before[:, _POSITION] + _cubic(way, speeds[0] * gap_s, speeds[1] * gap_s, share)
    turn = _cubic(turned, rates[0] * gap_s, rates[1] * gap_s, share)
    return np.hstack([position, _turned(before[:, _ROTATION], turn)])


def _cubic(
    end: NDArray[np.float64],
    start_slope: NDArray[np.float64],
    end_slope: NDArray[np.float64],
    share: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Hermite's cubic from 0 to `end` (n, 3) at `share` (n, 1), slopes by the whole length."""
    s = share
    value: NDArray[np.float64] = (
        (3.0 - 2.0 * s) * s**2 * end
        + s * (1.0 - s) ** 2 * start_slope
        - s**2 * (1.0 - s) * end_slope
    )
    return value


def rotation_vector(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Axis times angle (n, 3) of rotations (n, 3, 3) by less than half a circle [rad]."""
    twice_sine_axis = np.stack(
        [
            rotation[:, 2, 1] - rotation[:, 1, 2],
            rotation[:, 0, 2] - rotation[:, 2, 0],
            rotation[:, 1, 0] - rotation[:, 0, 1],
        ],
        axis=1,
    )
    cosine = 0.5 * (np.trace(rotation, axis1=1, axis2=2) - 1.0)
    sine = 0.5 * np.linalg.norm(twice_sine_axis, axis=1)
    angle = np.arctan2(sine, cosine)
    safe = np.where(sine < 1e-9, 1.0, sine)
    factor = np.where(sine < 1e-9, 1.0, angle / safe)
    vector: NDArray[np.float64] = 0.5 * factor[:, None] * twice_sine_axis
    return vector


def _turned(xyzw: NDArray[np.float64], vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quaternions (n, 4), each turned by a rotation vector (n, 3) in its own frame."""
    half = 0.5 * np.linalg.norm(vector, axis=1, keepdims=True)
    q = 0.5 * np.sinc(half / np.pi) * vector  # (n, 3)
    w, cosine = xyzw[:, 3:], np.cos(half)
    imaginary = w * q + cosine * xyzw[:, :3] + np.cross(xyzw[:, :3], q)
    real = w * cosine - np.sum(xyzw[:, :3] * q, axis=1, keepdims=True)
    return np.hstack([imaginary, real])


def _stack(rows: Sequence[NDArray[np.float64]], width: int) -> NDArray[np.float64]:
    return np.array(rows, dtype=np.float64).reshape(len(rows), width)


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
