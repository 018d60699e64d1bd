"""Draws a planned path onto a camera picture as a translucent ribbon on the road.

Assumes a pinhole camera without distortion and a path in the ego frame at the time of the
picture. Knows OpenCV and numpy only, so that the node can publish overlays too.
"""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np
from numpy.typing import NDArray

from rsd_planner.types import CameraModel, PlanSource
from rsd_planner.viz.colours import PATH, rgb

__all__ = ["draw_path", "move_path", "project_points", "scale_camera"]

_NEAR_M = 0.5  # nothing closer to the camera than this is drawn
_SUBPIXEL_BITS = 4
_FINE_STEP_M = 0.4
_LONGEST_M = 200.0  # farther away a ribbon is less than a pixel


def scale_camera(camera: CameraModel, width: int, height: int) -> CameraModel:
    """The same camera after its picture was resized to `width` × `height` pixels."""
    across, down = width / camera.width, height / camera.height
    return dataclasses.replace(
        camera,
        width=width,
        height=height,
        focal_x_px=camera.focal_x_px * across,
        focal_y_px=camera.focal_y_px * down,
        center_x_px=(camera.center_x_px + 0.5) * across - 0.5,
        center_y_px=(camera.center_y_px + 0.5) * down - 0.5,
    )


def project_points(
    points_m: NDArray[np.float64], camera: CameraModel
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels (points, 2) and depths in metres (points,) of ego-frame points (points, 3).

    Pixels of points behind the near plane mean nothing; look at the depth first.
    """
    camera_from_ego = np.linalg.inv(camera.pose_ego_from_camera)
    in_camera = points_m @ camera_from_ego[:3, :3].T + camera_from_ego[:3, 3]  # (points, 3)
    depth = in_camera[:, 2]
    safe = np.maximum(depth, 1e-6)
    pixels = np.stack(
        [
            camera.focal_x_px * in_camera[:, 0] / safe + camera.center_x_px,
            camera.focal_y_px * in_camera[:, 1] / safe + camera.center_y_px,
        ],
        axis=1,
    )
    return pixels, depth


def move_path(
    points_m: NDArray[np.float64], pose_to_from_source: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Points (points, 3) of one frame in another, given the (4, 4) pose between them."""
    return points_m @ pose_to_from_source[:3, :3].T + pose_to_from_source[:3, 3]


def draw_path(
    image: NDArray[np.uint8],
    camera: CameraModel,
    path_m: NDArray[np.float64],
    *,
    step_s: float = 0.1,
    source: PlanSource = PlanSource.MODEL,
    width_m: float = 1.6,
    opacity: float = 0.55,
) -> NDArray[np.uint8]:
    """A copy of an RGB picture with the path drawn on the road.

    `path_m` (points, 3) is in the ego frame, nearest first, `step_s` apart in time: a bar
    crosses the ribbon at each full second. A path that ends before the road that the camera sees
    is as good as a stop and is drawn as a bar in front of the car.
    """
    colour = rgb(PATH[source])
    canvas = image.copy()
    center, lateral = _centre_line(path_m)
    if len(center) < 2:
        return _draw_stop_bar(canvas, camera, colour, width_m)
    left, right = center + lateral * width_m / 2, center - lateral * width_m / 2
    left_px, left_depth = project_points(left, camera)
    right_px, right_depth = project_points(right, camera)
    seen = (left_depth > _NEAR_M) & (right_depth > _NEAR_M)
    if not (seen & (np.minimum(left_px[:, 1], right_px[:, 1]) < image.shape[0])).any():
        return _draw_stop_bar(canvas, camera, colour, width_m)
    share = np.linspace(0.0, 1.0, len(center))
    fill = canvas.copy()
    alpha = np.zeros(image.shape[:2], np.float32)
    for i in range(len(center) - 2, -1, -1):
        if seen[i] and seen[i + 1]:
            quad = np.stack([left_px[i], left_px[i + 1], right_px[i + 1], right_px[i]])
            cv2.fillConvexPoly(fill, _fixed(quad), colour, cv2.LINE_AA, _SUBPIXEL_BITS)
            strength = opacity * (1.0 - 0.65 * float(share[i]))
            cv2.fillConvexPoly(alpha, _fixed(quad), strength, cv2.LINE_8, _SUBPIXEL_BITS)
    blended = canvas + (fill.astype(np.float32) - canvas) * alpha[..., None]
    canvas = blended.astype(np.uint8)
    thickness = max(1, round(image.shape[0] / 320))
    for edge in (left_px, right_px):
        cv2.polylines(
            canvas, [_fixed(edge[seen])], False, colour, thickness, cv2.LINE_AA, _SUBPIXEL_BITS
        )
    _draw_second_bars(canvas, camera, path_m, step_s, width_m, thickness)
    return canvas


def _centre_line(
    path_m: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The path from the ego origin, evenly spaced, and its unit left vectors; empty if short."""
    empty = np.zeros((0, 3))
    points = np.concatenate([np.zeros((1, 3)), np.asarray(path_m, np.float64)])
    lengths = np.concatenate(
        [[0.0], np.cumsum(np.linalg.norm(np.diff(points[:, :2], axis=0), axis=1))]
    )
    forward = np.concatenate([[True], np.diff(lengths) > 1e-3])
    points, lengths = points[forward], lengths[forward]
    if lengths[-1] < 0.5:
        return empty, empty
    end = min(float(lengths[-1]), _LONGEST_M)
    at = np.arange(0.0, end + 1e-9, min(_FINE_STEP_M, end / 4))
    line = np.stack([np.interp(at, lengths, points[:, k]) for k in range(3)], axis=1)
    along = np.gradient(line[:, :2], axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    lateral = np.stack([-along[:, 1], along[:, 0], np.zeros(len(along))], axis=1)
    return line, lateral


def _draw_second_bars(
    canvas: NDArray[np.uint8],
    camera: CameraModel,
    path_m: NDArray[np.float64],
    step_s: float,
    width_m: float,
    thickness: int,
) -> None:
    per_second = max(1, round(1.0 / step_s))
    for i in range(per_second - 1, len(path_m), per_second):
        along = path_m[i, :2] - (path_m[i - 1, :2] if i else 0.0)
        length = float(np.hypot(*along))
        if length < 0.05:
            continue
        lateral = np.array([-along[1], along[0], 0.0]) / length * width_m / 2
        bar, depth = project_points(np.stack([path_m[i] + lateral, path_m[i] - lateral]), camera)
        if (depth > _NEAR_M).all():
            cv2.polylines(canvas, [_fixed(bar)], False, (255, 255, 255), thickness, cv2.LINE_AA, 4)


def _draw_stop_bar(
    canvas: NDArray[np.uint8], camera: CameraModel, colour: tuple[int, int, int], width_m: float
) -> NDArray[np.uint8]:
    """A bar across the lane at the nearest road that the camera sees."""
    ahead = np.arange(1.0, 20.0, 0.25)
    centre = np.stack([ahead, np.zeros_like(ahead), np.zeros_like(ahead)], axis=1)
    pixels, depth = project_points(centre, camera)
    visible = np.flatnonzero((depth > _NEAR_M) & (pixels[:, 1] < camera.height * 0.96))
    if len(visible) == 0:
        return canvas
    x = float(ahead[visible[0]])
    half = width_m / 2
    corners = np.array([[x, half, 0], [x + 0.6, half, 0], [x + 0.6, -half, 0], [x, -half, 0]])
    quad, depth = project_points(corners, camera)
    if (depth > _NEAR_M).all():
        cv2.fillConvexPoly(canvas, _fixed(quad), colour, cv2.LINE_AA, _SUBPIXEL_BITS)
    return canvas


def _fixed(pixels: NDArray[np.float64]) -> NDArray[np.int32]:
    """Fixed-point pixels (points, 2) for OpenCV's subpixel drawing, kept inside its range."""
    limited = np.clip(pixels, -30000, 30000)
    return np.round(limited * (1 << _SUBPIXEL_BITS)).astype(np.int32)
