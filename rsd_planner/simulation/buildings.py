"""Houses: rows along streets, close ones in an old town, a farm here and there in the country."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.ground import outer_offset, walk_width
from rsd_planner.simulation.mesh import Colour, Mesh
from rsd_planner.simulation.placing import Cells, Clearance, axes, even
from rsd_planner.simulation.road import Edge, RoadNetwork

__all__ = ["buildings"]

_WALLS: dict[str, tuple[Colour, ...]] = {
    "city": (
        (176, 112, 88), (198, 178, 142), (150, 152, 158), (202, 190, 176), (128, 104, 92),
        (170, 160, 120), (112, 124, 140),
    ),
    "oldtown": (
        (214, 196, 158), (198, 158, 116), (206, 178, 168), (186, 186, 176), (168, 118, 92),
        (222, 210, 186), (176, 170, 136),
    ),
    "rural": ((222, 214, 198), (190, 150, 120), (206, 204, 200)),
}  # fmt: skip
_ROOFS: tuple[Colour, ...] = ((138, 72, 56), (120, 62, 50), (92, 84, 82), (150, 88, 62))
_WINDOW = (62, 76, 94)
_PLINTH = (104, 100, 96)
_FLOOR_M, _BAY_M = 3.1, 2.7
_DISTANCE_M = {"city": 1.2, "oldtown": 1.2, "rural": 4.0}  # from paved ground, at least


@dataclass(frozen=True)
class _Row:
    """How the houses of a kind of road stand."""

    wide_m: tuple[float, float]
    gaps_m: tuple[float, ...]
    setback_m: tuple[float, float]
    deep_m: tuple[float, float]
    floors: tuple[int, int]
    share: float
    margin_m: float  # kept free at both ends of a block
    gabled: bool


_ROWS = {
    "city": _Row((9, 22), (0.6, 3.0, 7.0), (2.0, 6.0), (8, 13), (2, 6), 0.82, 8.0, False),
    "oldtown": _Row((5, 9), (0.05, 0.05, 0.05, 1.6), (0.2, 0.8), (8, 11), (2, 5), 0.96, 2.0, True),
    "rural": _Row((9, 15), (60.0, 110.0, 170.0), (11.0, 30.0), (8, 11), (1, 3), 0.6, 30.0, True),
}


def buildings(cells: Cells, road: RoadNetwork, free: Clearance, rng: np.random.Generator) -> None:
    """All houses of a network. None stands on a road or in another."""
    builder = _Builder(cells, free, rng)
    for edge in road.edges:
        if edge.kind in _ROWS and edge.role in ("forward", "backward", "cross"):
            builder.row(edge)
        if edge.kind in ("city", "oldtown") and not edge.ends_at_junction:
            builder.closing(edge)


class _Builder:
    def __init__(self, cells: Cells, free: Clearance, rng: np.random.Generator) -> None:
        self._cells, self._free, self._rng = cells, free, rng
        self._taken: list[tuple[float, float, float]] = []  # x, y, half the width

    def row(self, edge: Edge) -> None:
        """Houses to the right of an edge."""
        rng, style = self._rng, _ROWS[edge.kind]
        line, length = even(edge.lanes[0], 1.0)
        margin = style.margin_m if edge.is_main else max(style.margin_m, 14.0)
        at = margin + float(rng.uniform(0, 0.5)) * style.gaps_m[-1]
        while at < length - margin - style.wide_m[0]:
            wide = float(rng.uniform(*style.wide_m))
            if rng.random() < style.share and at + wide < length - margin:
                index = int((at + wide / 2) / length * (len(line) - 1))
                ahead, before = line[min(len(line) - 1, index + 1)], line[max(0, index - 1)]
                heading = float(np.arctan2(*(ahead - before)[::-1]))
                setback = float(rng.uniform(*style.setback_m))
                offset = outer_offset(edge) - 0.3 - walk_width(edge.kind) - setback
                self._house(edge.kind, line[index], heading, offset, wide)
            at += wide + float(rng.choice(style.gaps_m))

    def closing(self, edge: Edge) -> None:
        """Houses across the far end, so that no street runs into nothing."""
        line, _ = even(edge.lanes[0], 1.0)
        heading = float(np.arctan2(*(line[-1] - line[-2])[::-1]))
        forward, left = axes(heading)
        for k in (-2, -1, 0, 1, 2):
            middle = line[-1] + 24.0 * forward + (15.5 * k + 4.0) * left
            self._house(edge.kind, middle, heading + np.pi / 2, 0.0, 15.0)

    def _house(
        self, kind: str, middle: NDArray[np.float64], heading: float, offset: float, wide: float
    ) -> None:
        rng, style = self._rng, _ROWS[kind]
        forward, left = axes(heading)
        deep, floors = float(rng.uniform(*style.deep_m)), int(rng.integers(*style.floors))
        palette = _WALLS[kind]
        base = palette[int(rng.integers(len(palette)))]
        red, green, blue = (int(np.clip(c + rng.integers(-14, 14), 0, 255)) for c in base)
        roof = _ROOFS[int(rng.integers(len(_ROOFS)))]
        front = middle + offset * left  # the facade; the house lies further to the right
        across, back = 0.5 * wide * forward, deep * left
        corners = np.stack([front - across, front - across - back, front + across - back,
                            front + across])  # fmt: skip
        if not self._fits(corners, wide, kind):
            return
        mesh = self._cells.at(front)
        _walls(mesh, corners, (red, green, blue), floors, heading, closed=kind == "oldtown")
        if style.gabled:
            _gable(mesh, corners, floors * _FLOOR_M + 0.8, (red, green, blue), roof)

    def _fits(self, corners: NDArray[np.float64], wide: float, kind: str) -> bool:
        sides = [corners + share * (np.roll(corners, -1, axis=0) - corners) for share in (0.0, 0.5)]
        if self._free.distance(np.concatenate(sides)) < _DISTANCE_M[kind]:
            return False
        x, y = corners.mean(axis=0)
        deep = float(np.linalg.norm(corners[1] - corners[0]))
        half = 0.5 * min(wide, deep)
        if any((x - a) ** 2 + (y - b) ** 2 < (0.9 * (half + r)) ** 2 for a, b, r in self._taken):
            return False
        self._taken.append((float(x), float(y), half))
        return True


def _walls(
    mesh: Mesh, corners: NDArray[np.float64], wall: Colour, floors: int, heading: float,
    closed: bool,
) -> None:  # fmt: skip
    forward, left = axes(heading)
    bottom = [(*c, 0.0) for c in corners]
    top = [(*c, floors * _FLOOR_M + 0.8) for c in corners]
    mesh.prism(bottom, top, wall, PixelClass.BUILDING)
    sides = [(corners[0], corners[3], left)]
    if not closed:
        sides += [(corners[0], corners[1], -forward), (corners[3], corners[2], forward)]
    for a, b, normal in sides:
        _windows(mesh, a + 0.06 * normal, b + 0.06 * normal, floors)
    middle = corners.mean(axis=0)
    base = [
        (*(c + 0.04 * (np.sign((c - middle) @ left) * left + np.sign((c - middle) @ forward)
         * forward)), 0.0)
        for c in corners
    ]  # fmt: skip
    rim = [(x, y, 0.7) for x, y, _ in base]
    mesh.prism(base, rim, _PLINTH, PixelClass.BUILDING, lid=False)


def _gable(
    mesh: Mesh, corners: NDArray[np.float64], eaves_m: float, wall: Colour, roof: Colour
) -> None:
    """A roof whose ridge runs along the street."""
    deep = float(np.linalg.norm(corners[1] - corners[0]))
    top = eaves_m + 0.42 * deep
    a, b, c, d = ((*corner, eaves_m) for corner in corners)
    near = (*(0.5 * (corners[0] + corners[1])), top)
    far = (*(0.5 * (corners[2] + corners[3])), top)
    mesh.quad([d, far, near, a], roof, PixelClass.BUILDING)
    mesh.quad([b, near, far, c], roof, PixelClass.BUILDING)
    mesh.quad([a, near, b, b], wall, PixelClass.BUILDING)
    mesh.quad([c, far, d, d], wall, PixelClass.BUILDING)


def _windows(mesh: Mesh, a: NDArray[np.float64], b: NDArray[np.float64], floors: int) -> None:
    span = float(np.linalg.norm(b - a))
    direction = (b - a) / span
    columns = int((span - 0.6) // _BAY_M)
    if columns < 1:
        return
    margin = (span - columns * _BAY_M) / 2
    for row in range(floors):
        low = 1.1 + row * _FLOOR_M
        for column in range(columns):
            p = a + (margin + column * _BAY_M + 0.65) * direction
            q = p + 1.4 * direction
            corners = [(*p, low), (*q, low), (*q, low + 1.5), (*p, low + 1.5)]
            mesh.quad(corners, _WINDOW, PixelClass.BUILDING, flat=True)
