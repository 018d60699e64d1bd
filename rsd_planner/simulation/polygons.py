"""Plane polygons (corners, 2): orientation, convex hulls, and cutting them into triangles."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = ["counter_clockwise", "grown_hull", "triangles"]


def counter_clockwise(area: NDArray[np.float64]) -> NDArray[np.float64]:
    """The polygon without doubled corners, in counter-clockwise order."""  # (corners, 2)
    area = area[np.linalg.norm(area - np.roll(area, 1, axis=0), axis=1) > 1e-3]
    x, y = area.T
    return area if float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))) > 0 else area[::-1]


def grown_hull(area: NDArray[np.float64], by_m: float) -> NDArray[np.float64]:
    """The convex hull with its corners moved outwards, counter-clockwise."""  # (corners, 2)
    hull = cv2.convexHull(area.astype(np.float32))[:, 0].astype(np.float64)
    hull = counter_clockwise(hull)
    step = np.roll(hull, -1, axis=0) - hull
    step /= np.linalg.norm(step, axis=1, keepdims=True)
    side = np.stack([step[:, 1], -step[:, 0]], axis=1)
    before = np.roll(side, 1, axis=0)
    mitre = (side + before) / np.maximum(1 + (side * before).sum(axis=1, keepdims=True), 0.5)
    return hull + by_m * mitre


def triangles(area: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Cuts ears off a counter-clockwise polygon until nothing is left."""  # each (3, 2)
    points, pieces = list(area), []
    while len(points) > 3:
        ear = next((i for i in range(len(points)) if _is_ear(points, i)), 0)
        pieces.append(np.stack([points[ear - 1], points[ear], points[(ear + 1) % len(points)]]))
        del points[ear]
    return [*pieces, np.stack(points)]


def _is_ear(points: list[NDArray[np.float64]], i: int) -> bool:
    a, b, c = points[i - 1], points[i], points[(i + 1) % len(points)]
    if _turn(a, b, c) <= 0:
        return False
    others = np.array([p for p in points if p is not a and p is not b and p is not c])
    if not len(others):
        return True
    inside = (_turn(a, b, others) >= 0) & (_turn(b, c, others) >= 0) & (_turn(c, a, others) >= 0)
    return not bool(inside.any())


def _turn(
    a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Positive where c (…, 2) lies left of the way from a to b."""
    ahead, there = b - a, c - a
    turned: NDArray[np.float64] = ahead[0] * there[..., 1] - ahead[1] * there[..., 0]
    return turned
