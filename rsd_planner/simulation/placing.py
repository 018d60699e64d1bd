"""Helps to put things beside a road: even lines, axes, cells by place, and what is kept free."""

from __future__ import annotations

from collections import defaultdict
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from rsd_planner.simulation.mesh import Mesh
from rsd_planner.simulation.network import load_network

__all__ = ["Cells", "Clearance", "axes", "clearance", "even", "face"]

_CELL_M = 70.0
_NEIGHBOURS = 4


def even(line: NDArray[np.float64], step_m: float) -> tuple[NDArray[np.float64], float]:
    """The polyline resampled evenly, and its length."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(2, round(along[-1] / step_m) + 1)
    at = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(at, along, line[:, k]) for k in (0, 1)], axis=1), float(along[-1])


def axes(heading_rad: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Unit vectors forward and to the left."""
    forward = np.array([np.cos(heading_rad), np.sin(heading_rad)])
    return forward, np.array([-forward[1], forward[0]])


def face(
    heading_rad: float,
    point: NDArray[np.float64],
    across: tuple[float, float],
    heights: tuple[float, float],
    ahead: float,
) -> list[tuple[float, float, float]]:
    """An upright rectangle that looks towards the traffic that drives along `heading_rad`.

    `across` is from how far left to how far right of `point`; `ahead` is towards the traffic.
    """
    forward, left = axes(heading_rad)
    at = point - ahead * forward
    a, b = at + across[0] * left, at - across[1] * left
    low, high = heights
    return [(*a, low), (*b, low), (*b, high), (*a, high)]


class Cells:
    """Meshes by place, so that those out of sight can be left out."""

    def __init__(self, shade: float) -> None:
        self.meshes: defaultdict[tuple[int, int], Mesh] = defaultdict(lambda: Mesh(shade))

    def at(self, point: NDArray[np.float64]) -> Mesh:
        """The mesh of the cell that holds a point."""
        return self.meshes[(int(point[0] // _CELL_M), int(point[1] // _CELL_M))]


class Clearance:
    """How far it is from a point to the nearest paved ground; nothing may stand nearer."""

    def __init__(self, name: str) -> None:
        points: list[NDArray[np.float64]] = []
        radii: list[NDArray[np.float64]] = []
        road = load_network(name)
        for edge in road.edges:
            for number, lane in enumerate(edge.lanes):
                line, _ = even(lane, 2.0)
                points.append(line)
                outer = edge.paved_m if number == 0 else 0.0
                radii.append(np.full(len(line), edge.lane_width_m / 2 + outer))
        for area in road.junction_areas:
            middle = area.mean(axis=0)
            points += [middle[None], area]
            radii += [
                np.array([np.linalg.norm(area - middle, axis=1).min()]), np.zeros(len(area))
            ]  # fmt: skip
        self._tree = cKDTree(np.concatenate(points))
        self._radii = np.concatenate(radii)

    def distance(self, points: NDArray[np.float64]) -> float:
        """The least distance of points (n, 2) to paved ground; negative on it."""
        away, which = self._tree.query(np.atleast_2d(points), k=_NEIGHBOURS)
        return float((away - self._radii[which]).min())


@lru_cache(maxsize=16)
def clearance(name: str) -> Clearance:
    """That of a network."""
    return Clearance(name)
