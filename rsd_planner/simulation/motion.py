"""A smooth ego motion from the steps of the traffic simulation.

SUMO moves the middle of the front bumper along lane polylines in discrete steps. Here that
trace is smoothed in space and in time, and the rear axle is drawn behind the bumper like the
rear axle of a real car: it never slides sideways. So pose, speed and yaw rate belong together.
Everything happens `REACTION_S` later than SUMO's driver acts, who needs no time to react.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.scene import EgoTrack

__all__ = ["FRONT_FROM_REAR_AXLE_M", "REACTION_S", "smooth_motion"]

FRONT_FROM_REAR_AXLE_M = 3.7  # base_link to the front bumper
REACTION_S = 0.3
_PATH_STEP_M = 0.1
_PATH_SIGMA_M = 2.5
_TIME_SIGMA_S = 0.2
_EVEN_SIGMA_M = 12.0
_RATE_HZ = 100


def _gaussian(values: NDArray[np.float64], sigma_steps: float) -> NDArray[np.float64]:
    """Smoothed along axis 0; the ends go on with the slope that they have."""
    half = min(int(4 * sigma_steps) + 1, len(values) - 2)
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma_steps) ** 2)
    kernel /= kernel.sum()
    flat = values.reshape(len(values), -1)
    before = 2 * flat[0] - flat[half:0:-1]
    after = 2 * flat[-1] - flat[-2 : -half - 2 : -1]
    padded = np.concatenate([before, flat, after])
    columns = [np.convolve(column, kernel, mode="valid") for column in padded.T]
    return np.stack(columns, axis=1).reshape(values.shape)


def _even_out(
    odometer_m: NDArray[np.float64], distance_m: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The distance along the trace as a smooth function of the odometer."""
    grid = np.arange(odometer_m[0], odometer_m[-1] + _PATH_STEP_M, 5 * _PATH_STEP_M)
    keep = np.concatenate([[True], np.diff(odometer_m) > 1e-6])
    jumpy = np.interp(grid, odometer_m[keep], distance_m[keep])
    if len(grid) < 3:
        return distance_m
    even = _gaussian(jumpy - grid, min(_EVEN_SIGMA_M / (5 * _PATH_STEP_M), (len(grid) - 3) / 4.0))
    return np.asarray(np.interp(odometer_m, grid, grid + even))


def smooth_motion(
    time_s: NDArray[np.float64],
    front_m: NDArray[np.float64],
    heading_rad: float,
    odometer_m: NDArray[np.float64] | None = None,
) -> EgoTrack:
    """The rear axle's motion at 100 Hz, from `REACTION_S` on, from the front bumper's positions.

    `time_s` (steps,) is even; `front_m` (steps, 2); `heading_rad` is the heading at the start;
    `odometer_m` (steps,) is how far SUMO says it went. That is not what the positions say: where
    lanes meet, positions jump a little.
    """
    step_m = np.linalg.norm(np.diff(front_m, axis=0), axis=1)
    distance = np.concatenate([[0.0], np.cumsum(step_m)])  # (steps,)
    # Straight run-in and run-out, so that neither standing still nor the ends are special.
    margin = 15.0
    keep = np.concatenate([[True], step_m > 1e-6])
    nodes, points = distance[keep], front_m[keep]
    first = np.array([np.cos(heading_rad), np.sin(heading_rad)])
    last = points[-1] - points[-2] if len(points) > 1 else first
    last = last / np.linalg.norm(last)
    nodes = np.concatenate([[-margin], nodes, [nodes[-1] + margin]])
    points = np.concatenate([[points[0] - margin * first], points, [points[-1] + margin * last]])
    grid = np.arange(-margin, nodes[-1], _PATH_STEP_M)
    path = np.stack([np.interp(grid, nodes, points[:, k]) for k in (0, 1)], axis=1)
    path = _gaussian(path, _PATH_SIGMA_M / _PATH_STEP_M)  # (grid, 2)
    step = np.gradient(path, axis=0) / _PATH_STEP_M
    tangent = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    stretch = np.linalg.norm(step, axis=1)  # smoothing shortens curves a little
    yaw = np.empty_like(tangent)
    yaw[0] = tangent[0]
    for i in range(len(grid) - 1):
        turn = np.sin(tangent[i] - yaw[i]) / FRONT_FROM_REAR_AXLE_M
        yaw[i + 1] = yaw[i] + turn * stretch[i] * _PATH_STEP_M

    # The moments at which SUMO's driver was where this car will be a little later.
    dense = np.arange(time_s[0], time_s[-1] - REACTION_S + 1e-9, 1.0 / _RATE_HZ)
    if odometer_m is not None:
        distance = _even_out(odometer_m, distance)
    travelled = _gaussian(np.interp(dense, time_s, distance), _TIME_SIGMA_S * _RATE_HZ)
    travelled = np.maximum.accumulate(travelled)
    front_speed = np.gradient(travelled, dense) * np.interp(travelled, grid, stretch)
    yaw_at = np.interp(travelled, grid, yaw)
    slip = np.interp(travelled, grid, tangent) - yaw_at
    front = np.stack([np.interp(travelled, grid, path[:, k]) for k in (0, 1)], axis=1)
    rear = front - FRONT_FROM_REAR_AXLE_M * np.stack([np.cos(yaw_at), np.sin(yaw_at)], axis=1)
    return EgoTrack(
        time_s=dense + REACTION_S,
        position_m=rear,
        yaw_rad=yaw_at,
        speed_mps=front_speed * np.cos(slip),
        yaw_rate_radps=front_speed * np.sin(slip) / FRONT_FROM_REAR_AXLE_M,
    )
