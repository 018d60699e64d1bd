"""What stands beside a road and is no house: trees, posts, fences, rails and barriers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.ground import opposite_carriageway, outer_offset, taper_width
from rsd_planner.simulation.mesh import Colour, Mesh
from rsd_planner.simulation.placing import Cells, Clearance, even
from rsd_planner.simulation.road import Edge, RoadNetwork
from rsd_planner.simulation.route import shift_left

__all__ = ["roadside"]

_LEAVES: tuple[Colour, ...] = ((62, 108, 52), (78, 124, 58), (92, 116, 48), (50, 92, 56))
_NEEDLES: tuple[Colour, ...] = ((38, 74, 48), (46, 82, 50))
_BARK: Colour = (86, 66, 48)
_STEEL: Colour = (92, 96, 100)
_RAIL: Colour = (158, 162, 166)
_CONCRETE: Colour = (162, 160, 154)
_WOOD: Colour = (120, 96, 70)
_POST: Colour = (232, 232, 228)
_BAND: Colour = (34, 34, 36)
_RAIL_OUT_M = 0.9  # beyond the asphalt
_PLANT = PixelClass.VEGETATION


def roadside(cells: Cells, road: RoadNetwork, free: Clearance, rng: np.random.Generator) -> None:
    """Everything beside the roads of a network."""
    for edge in road.edges:
        if edge.kind in ("city", "oldtown"):
            if edge.is_main:
                _street(cells, edge, rng)
        elif edge.is_main:
            _trees(cells, edge, free, rng)
            if edge.kind == "rural":
                _delineators(cells, edge, free)
                _fence(cells, edge, free, rng)
            else:
                _guard_rail(cells, road, edge, free)
        elif edge.role == "cross":
            _trees(cells, edge, free, rng)
        if edge.kind in ("rural", "motorway") and not edge.ends_at_junction:
            _wood(cells, edge, free, rng)
        if edge.kind == "motorway" and edge.role == "forward":
            if road.backward:
                _central_barrier(cells, edge)
            else:
                _median(cells, edge, free, rng)
    for center, radius in road.islands:
        for angle in rng.uniform(0, 2 * np.pi, 5):
            away = float(rng.uniform(0.0, 0.5)) * radius
            point = center + away * np.array([np.cos(angle), np.sin(angle)])
            _tree(cells.at(point), point, rng)


def _street(cells: Cells, edge: Edge, rng: np.random.Generator) -> None:
    """Lamp posts and trees along the kerb."""
    line, length = even(shift_left(edge.lanes[0], outer_offset(edge) - 0.9), 1.0)
    share = float(rng.uniform(0.2, 0.8)) if edge.kind == "city" else 0.0
    for number, at in enumerate(np.arange(14.0, length - 24.0, 11.0)):
        point = line[int(at / length * (len(line) - 1))]
        if number % 3 == 0:
            cells.at(point).tube(point, (0.1, 0.07), (0.0, 6.5), _STEEL, PixelClass.POLE, sides=5)
        elif rng.random() < share:
            _tree(cells.at(point), point + rng.uniform(-0.4, 0.4, 2), rng)


def _trees(cells: Cells, edge: Edge, free: Clearance, rng: np.random.Generator) -> None:
    """Single trees, and stretches of wood."""
    line, length = even(edge.lanes[0], 1.0)
    nearest = 4.0 if edge.kind == "rural" else 9.0
    at = float(rng.uniform(0, 20))
    while at < length:
        wooded = rng.random() < 0.35
        stretch = float(rng.uniform(30, 80))
        count = int(stretch / (4.0 if wooded else 16.0))
        needles = rng.random() < 0.5
        for spot in rng.uniform(at, min(at + stretch, length), count):
            away = nearest + float(rng.gamma(2.0, 4.0 if wooded else 7.0))
            index = min(len(line) - 2, int(spot / length * (len(line) - 1)))
            step = line[index + 1] - line[index]
            side = np.array([step[1], -step[0]]) / np.linalg.norm(step)
            point = line[index] + (away - outer_offset(edge)) * side
            if free.distance(point) > nearest - 1.0:
                (_conifer if wooded and needles else _tree)(cells.at(point), point, rng)
        at += stretch


def _wood(cells: Cells, edge: Edge, free: Clearance, rng: np.random.Generator) -> None:
    """Trees across the far end of a road."""
    line, _ = even(edge.lanes[0], 1.0)
    forward = (line[-1] - line[-2]) / np.linalg.norm(line[-1] - line[-2])
    left = np.array([-forward[1], forward[0]])
    for _ in range(40):
        ahead, across = float(rng.uniform(8, 30)), float(rng.uniform(-35, 35))
        point = line[-1] + ahead * forward + across * left
        if free.distance(point) > 2.5:
            _conifer(cells.at(point), point, rng)


def _tree(mesh: Mesh, point: NDArray[np.float64], rng: np.random.Generator) -> None:
    leaves = _LEAVES[int(rng.integers(len(_LEAVES)))]
    red, green, blue = (int(c * 0.8) for c in leaves)
    trunk, radius = float(rng.uniform(2.2, 3.0)), float(rng.uniform(1.3, 2.0))
    _loft(mesh, point, [(0.17, 0.0), (0.14, trunk + 0.3)], [_BARK], 4)
    crown = [(0.5, 0.0), (1.0, 0.8), (0.9, 1.9), (0.35, 3.0), (0.0, 3.2)]
    rings = [(share * radius, trunk + height) for share, height in crown]
    _loft(mesh, point, rings, [(red, green, blue), leaves, leaves, leaves], 7)


def _conifer(mesh: Mesh, point: NDArray[np.float64], rng: np.random.Generator) -> None:
    needles = _NEEDLES[int(rng.integers(len(_NEEDLES)))]
    height, radius = float(rng.uniform(7.0, 12.0)), float(rng.uniform(1.5, 2.3))
    _loft(mesh, point, [(0.16, 0.0), (0.14, 1.4)], [_BARK], 3)
    lower = [(radius, 1.2), (0.5 * radius, 0.5 * height)]
    upper = [(0.78 * radius, 0.47 * height), (0.0, height)]
    _loft(mesh, point, lower, [needles], 6)
    _loft(mesh, point, upper, [needles], 6)


def _loft(
    mesh: Mesh, point: NDArray[np.float64], rings: list[tuple[float, float]],
    colours: list[Colour], sides: int,
) -> None:  # fmt: skip
    """Bands between rings (radius, height) around a point; neither floor nor lid."""
    angles = np.arange(sides) * 2 * np.pi / sides
    around = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    stacked = [
        np.column_stack([point + radius * around, np.full(sides, height)])
        for radius, height in rings
    ]
    for low, high, colour in zip(stacked[:-1], stacked[1:], colours, strict=True):
        mesh.prism(list(low), list(high), colour, _PLANT, lid=False)


def _delineators(cells: Cells, edge: Edge, free: Clearance) -> None:
    """White posts with a black band."""
    line, length = even(shift_left(edge.lanes[0], outer_offset(edge) - 0.7), 1.0)
    for at in np.arange(10.0, length - 8.0, 25.0):
        point = line[int(at / length * (len(line) - 1))]
        if free.distance(point) < 0.4:
            continue
        mesh = cells.at(point)
        mesh.tube(point, (0.07, 0.07), (0.0, 0.72), _POST, PixelClass.POLE, 4)
        mesh.tube(point, (0.07, 0.07), (0.72, 0.92), _BAND, PixelClass.POLE, 4)
        mesh.tube(point, (0.07, 0.05), (0.92, 1.0), _POST, PixelClass.POLE, 4)


def _fence(cells: Cells, edge: Edge, free: Clearance, rng: np.random.Generator) -> None:
    """Wooden fences along some pastures."""
    line, _ = even(shift_left(edge.lanes[0], outer_offset(edge) - 3.2), 3.0)
    start = int(rng.integers(0, 20))
    while start < len(line) - 6:
        stop = min(len(line) - 1, start + int(rng.integers(8, 24)))
        for i in range(start, stop):
            a, b = line[i], line[i + 1]
            if free.distance(np.stack([a, b])) < 1.5:
                continue
            mesh = cells.at(a)
            mesh.tube(a, (0.07, 0.07), (0.0, 1.15), _WOOD, PixelClass.POLE, 4)
            for low in (0.45, 0.9):
                _strip(mesh, a, b, low, low + 0.13, _WOOD)
        start = stop + int(rng.integers(10, 40))


def _guard_rail(cells: Cells, road: RoadNetwork, edge: Edge, free: Clearance) -> None:
    """A steel rail outside the shoulder, open where ramps meet the road."""
    inner, length = even(edge.lanes[0], 4.0)
    border = shift_left(inner, outer_offset(edge))
    normal = shift_left(inner, outer_offset(edge) - 1.0) - border
    wide = taper_width(road, edge, length, len(inner))
    line = border + (_RAIL_OUT_M + wide)[:, None] * normal
    for a, b in zip(line[:-1], line[1:], strict=True):
        if free.distance(np.stack([a, b, (a + b) / 2])) > _RAIL_OUT_M - 0.25:
            _rail(cells, a, b)


def _rail(cells: Cells, a: NDArray[np.float64], b: NDArray[np.float64]) -> None:
    mesh = cells.at(a)
    mesh.tube(a, (0.06, 0.06), (0.0, 0.6), _STEEL, PixelClass.POLE, 4)
    _strip(mesh, a, b, 0.45, 0.76, _RAIL)


def _median(cells: Cells, edge: Edge, free: Clearance, rng: np.random.Generator) -> None:
    """Rails on both sides of the median, and bushes and trees beyond the other way."""
    line, _ = even(edge.lanes[-1], 4.0)
    near = shift_left(line, 0.5 * edge.lane_width_m + 2.2)
    far, _ = even(opposite_carriageway(edge), 4.0)
    for rail in (near, shift_left(far, -1.8)):
        for a, b in zip(rail[:-1], rail[1:], strict=True):
            _rail(cells, a, b)
    for i in range(len(far) - 1):
        if rng.random() < 0.35:
            step = (far[i + 1] - far[i]) / np.linalg.norm(far[i + 1] - far[i])
            away = 17.0 + float(rng.gamma(2.0, 6.0))
            point = far[i] + away * np.array([-step[1], step[0]])
            if free.distance(point) > 4.0:
                _tree(cells.at(point), point, rng)


def _strip(
    mesh: Mesh, a: NDArray[np.float64], b: NDArray[np.float64], low: float, high: float,
    colour: Colour,
) -> None:  # fmt: skip
    mesh.quad([(*a, low), (*b, low), (*b, high), (*a, high)], colour, PixelClass.POLE)


def _central_barrier(cells: Cells, edge: Edge) -> None:
    """Concrete between the two ways of a motorway."""
    middle = shift_left(edge.lanes[-1], edge.lane_width_m / 2)
    line, _ = even(middle, 6.0)
    left, right = shift_left(line, 0.22), shift_left(line, -0.22)
    upper_left, upper_right = shift_left(line, 0.08), shift_left(line, -0.08)
    for i in range(len(line) - 1):
        mesh = cells.at(line[i])
        for low, high in ((right, upper_right), (left[::-1], upper_left[::-1])):
            j = i if low is right else len(line) - 2 - i
            corners = [(*low[j], 0.0), (*low[j + 1], 0.0), (*high[j + 1], 0.85), (*high[j], 0.85)]
            mesh.quad(corners, _CONCRETE, PixelClass.BUILDING)
        top = [upper_right[i], upper_right[i + 1], upper_left[i + 1], upper_left[i]]
        mesh.quad([(*p, 0.85) for p in top], _CONCRETE, PixelClass.BUILDING)
