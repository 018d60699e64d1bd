"""The car's own motion in numbers, from its poses: what a drafter can know before any picture.

Numpy alone. Every function takes leading axes, so that training and the drafter share them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["motion_features", "motion_width", "travelled_m"]

# Periods in km/h of the waves that tell a speed: a text rounds it, so its place between two
# round numbers matters.
_PERIODS_KMH = np.array([5.0, 10.0, 20.0, 40.0, 80.0])
_KMH = 3.6
# What makes each number about 1 in traffic: m/s, m/s, rad/s, m/s².
_SCALES = (0.1, 1.0, 5.0, 0.5)


def motion_features(
    position_m: NDArray[np.float64],
    rotation: NDArray[np.float64],
    step_s: float,
    gap_s: float | NDArray[np.float64],
    way_m: float | NDArray[np.float64],
) -> NDArray[np.float32]:
    """Speeds, turns and accelerations of a history, its speed now as waves, and the last tick.

    `position_m` (..., steps, 3) and `rotation` (..., steps, 3, 3) are an `EgoHistory`'s, oldest
    first; `gap_s` and `way_m` (...,) are the time and the way since the last tick, 0 where there
    is none. The result is (..., `motion_width(steps)`).
    """
    yaw = np.arctan2(rotation[..., 1, 0], rotation[..., 0, 0])  # (..., steps)
    moved = np.diff(position_m[..., :2], axis=-2) / step_s  # (..., steps - 1, 2)
    cos, sin = np.cos(yaw[..., :-1]), np.sin(yaw[..., :-1])
    forward = cos * moved[..., 0] + sin * moved[..., 1]  # in the frame of the earlier pose
    sideways = cos * moved[..., 1] - sin * moved[..., 0]
    turn = np.diff(yaw, axis=-1)
    turn = (turn + np.pi) % (2 * np.pi) - np.pi
    acceleration = np.diff(forward, axis=-1) / step_s
    # The last increment tells the speed half a step ago.
    now = forward[..., -1:] + 0.25 * (forward[..., -1:] - forward[..., -3:-2])
    angle = 2 * np.pi * _KMH * now / _PERIODS_KMH  # (..., periods)
    parts = (
        _SCALES[0] * forward,
        _SCALES[1] * sideways,
        _SCALES[2] * turn / step_s,
        _SCALES[3] * acceleration,
        _SCALES[0] * now,
        np.sin(angle),
        np.cos(angle),
        2.0 * np.asarray(gap_s)[..., None],
        0.2 * np.asarray(way_m)[..., None],
    )
    return np.concatenate(parts, axis=-1).astype(np.float32)


def motion_width(steps: int) -> int:
    """How many features a history of this many poses has. It takes four poses or more."""
    return 3 * (steps - 1) + (steps - 2) + 1 + 2 * len(_PERIODS_KMH) + 2


def travelled_m(
    position_m: NDArray[np.float64], step_s: float, seconds: float | NDArray[np.float64]
) -> NDArray[np.float64]:
    """How far the car went in the last `seconds` (...,), by the positions (..., steps, 3).

    What lies before the history goes on at its first speed.
    """
    moved = np.diff(position_m[..., :2], axis=-2)
    lengths = np.hypot(moved[..., 0], moved[..., 1])[..., ::-1]
    share = np.asarray(seconds)[..., None] / step_s - np.arange(lengths.shape[-1])
    inside = np.maximum(share, 0.0)
    inside[..., :-1] = np.minimum(inside[..., :-1], 1.0)
    return np.asarray((inside * lengths).sum(axis=-1))
