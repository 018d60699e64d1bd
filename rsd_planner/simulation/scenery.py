"""What stands still: roads and markings, kerbs, buildings, trees, poles and light housings.

Built once for a network and a seed. Ground layers are painted one over the other without depth
(the ground is flat); what stands upright is cut into cells that can be culled.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.mesh import Colour, Mesh
from rsd_planner.simulation.network import Edge, RoadNetwork, Signal, shift_left
from rsd_planner.simulation.scene import LightState
from rsd_planner.simulation.traffic import PARKING_WIDTH_M

__all__ = ["LAMP_COLOURS", "ground_layers", "lamp_disc", "upright_cells"]

_CELL_M = 70.0
_WALK_M = 3.2
_ASPHALT = (84, 86, 90)
_PARKING = (98, 99, 101)
_WALK = (150, 148, 142)
_KERB = (186, 184, 178)
_PAINT = (228, 228, 222)
_WALLS = (
    (176, 112, 88),
    (198, 178, 142),
    (150, 152, 158),
    (202, 190, 176),
    (128, 104, 92),
    (170, 160, 120),
    (112, 124, 140),
)
_WINDOW = (62, 76, 94)
_LEAVES = ((62, 108, 52), (78, 124, 58), (92, 116, 48), (50, 92, 56))
_STEEL = (92, 96, 100)
_HOUSING = (24, 25, 28)
LAMP_COLOURS: dict[LightState, Colour] = {
    LightState.RED: (255, 40, 30),
    LightState.AMBER: (255, 190, 20),
    LightState.GREEN: (40, 250, 120),
}
_LAMP_RADIUS_M = 0.42
_LAMP_GAP_M = 0.95
_LAMP_ORDER = (LightState.RED, LightState.AMBER, LightState.GREEN)


def _even(line: NDArray[np.float64], step_m: float) -> tuple[NDArray[np.float64], float]:
    """The polyline resampled evenly, and its length."""
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    count = max(2, round(along[-1] / step_m) + 1)
    at = np.linspace(0.0, along[-1], count)
    return np.stack([np.interp(at, along, line[:, k]) for k in (0, 1)], axis=1), float(along[-1])


def _outer_offset(edge: Edge) -> float:
    """From the rightmost lane's centre to the kerb (negative: to the right)."""
    return -(edge.lane_width_m / 2 + (PARKING_WIDTH_M if edge.is_main else 0.3))


def ground_layers(road: RoadNetwork) -> list[Mesh]:
    """Meshes in the order of painting."""
    walks, asphalt, paint = Mesh(), Mesh(), Mesh()
    for edge in road.edges:
        line, _ = _even(edge.lanes[0], 6.0)
        outer = _outer_offset(edge)
        kerb = shift_left(line, outer - 0.3)
        walks.ribbon(kerb, shift_left(line, outer - 0.3 - _WALK_M), _WALK, PixelClass.GROUND)
        walks.ribbon(shift_left(line, outer), kerb, _KERB, PixelClass.GROUND)
        inner = shift_left(line, (len(edge.lanes) - 0.5) * edge.lane_width_m + 0.05)
        border = shift_left(line, -edge.lane_width_m / 2)
        asphalt.ribbon(inner, border, _ASPHALT, PixelClass.ROAD)
        asphalt.ribbon(border, shift_left(line, outer), _PARKING, PixelClass.ROAD)
        _markings(paint, edge)
    for area in road.junction_areas:
        middle = np.array([*area.mean(axis=0), 0.0])
        corners = np.column_stack([area, np.zeros(len(area))])
        for i in range(len(corners)):
            triangle = [corners[i], corners[(i + 1) % len(corners)], middle, middle]
            asphalt.quad(triangle, _ASPHALT, PixelClass.ROAD, flat=True)
    for signal in road.signals:
        _stop_line(paint, road, signal)
    return [walks, asphalt, paint]


def _markings(mesh: Mesh, edge: Edge) -> None:
    width, lanes = edge.lane_width_m, len(edge.lanes)
    if not edge.is_main:
        return
    right, length = _even(edge.lanes[0], 1.0)
    border = shift_left(right, -width / 2)
    mesh.ribbon(shift_left(border, 0.09), shift_left(border, -0.09), _PAINT, PixelClass.MARKING)
    if edge.edge_id[0] == "f":
        centre = shift_left(right, (lanes - 0.5) * width)
        for at in (-0.2, 0.2):
            mesh.ribbon(
                shift_left(centre, at + 0.08),
                shift_left(centre, at - 0.08),
                (226, 190, 70),
                PixelClass.MARKING,
            )
    for divider in range(1, lanes):
        middle = shift_left(right, (divider - 0.5) * width)
        left, other = shift_left(middle, 0.09), shift_left(middle, -0.09)
        per_metre = (len(middle) - 1) / length
        for start in np.arange(1.0, length - 14.0, 9.0):
            a, b = round(start * per_metre), round((start + 3.0) * per_metre) + 1
            mesh.ribbon(left[a:b], other[a:b], _PAINT, PixelClass.MARKING)
        a = round((length - 12.0) * per_metre)
        mesh.ribbon(left[a:], other[a:], _PAINT, PixelClass.MARKING)  # solid before the stop line


def _axes(heading_rad: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    forward = np.array([np.cos(heading_rad), np.sin(heading_rad)])
    return forward, np.array([-forward[1], forward[0]])


def _stop_line(mesh: Mesh, road: RoadNetwork, signal: Signal) -> None:
    half = road.edge(signal.edge_id).lane_width_m / 2
    forward, left = _axes(signal.heading_rad)
    a = signal.stop_points[0] - half * left
    b = signal.stop_points[-1] + half * left
    near = np.stack([a - 0.8 * forward, b - 0.8 * forward])
    far = np.stack([a - 0.1 * forward, b - 0.1 * forward])
    mesh.ribbon(far, near, (240, 240, 236), PixelClass.STOP_LINE)


class _Cells:
    """Meshes by place."""

    def __init__(self, shade: float) -> None:
        self.meshes: dict[tuple[int, int], Mesh] = defaultdict(lambda: Mesh(shade))

    def at(self, point: NDArray[np.float64]) -> Mesh:
        return self.meshes[(int(point[0] // _CELL_M), int(point[1] // _CELL_M))]


def upright_cells(road: RoadNetwork, seed: int, shade: float) -> list[Mesh]:
    """Everything that stands, in cells."""
    rng = np.random.default_rng([seed, 3])
    cells = _Cells(shade)
    for edge in road.edges:
        _row_of_buildings(cells, edge, rng)
        _trees_and_posts(cells, edge, rng)
    for signal in road.signals:
        for point, low_m, mast in _heads(road, signal):
            _housing(cells.at(point), signal.heading_rad, point, low_m)
            if mast is not None:
                _mast(cells.at(point), signal.heading_rad, point, mast)
    _closing_rows(cells, road, rng)
    return list(cells.meshes.values())


def _row_of_buildings(cells: _Cells, edge: Edge, rng: np.random.Generator) -> None:
    outer = _outer_offset(edge) - _WALK_M
    line, length = _even(edge.lanes[0], 1.0)
    at = 8.0 if edge.is_main else 16.0
    end = length - (8.0 if edge.is_main else 16.0)
    while at < end - 9.0:
        wide = float(rng.uniform(9.0, 22.0))
        if rng.random() < 0.82 and at + wide < end:
            middle = line[min(len(line) - 1, int((at + wide / 2) / length * (len(line) - 1)))]
            ahead = line[min(len(line) - 1, int((at + wide / 2) / length * (len(line) - 1)) + 1)]
            before = line[max(0, int((at + wide / 2) / length * (len(line) - 1)) - 1)]
            heading = float(np.arctan2(*(ahead - before)[::-1]))
            setback = float(rng.uniform(2.0, 6.0))
            _building(cells.at(middle), middle, heading, outer - setback, wide, rng)
        at += wide + float(rng.choice([0.6, 3.0, 7.0]))


def _building(
    mesh: Mesh,
    middle: NDArray[np.float64],
    heading: float,
    offset: float,
    wide: float,
    rng: np.random.Generator,
) -> None:
    forward, left = _axes(heading)
    deep, floors = float(rng.uniform(8.0, 13.0)), int(rng.integers(2, 6))
    height = floors * 3.1 + 0.8
    wall = _WALLS[int(rng.integers(len(_WALLS)))]
    wall = tuple(int(np.clip(c + rng.integers(-14, 14), 0, 255)) for c in wall)  # type: ignore[assignment]
    front = middle + offset * left  # the facade; the house lies further to the right
    corners = [
        front - wide / 2 * forward,
        front - wide / 2 * forward - deep * left,
        front + wide / 2 * forward - deep * left,
        front + wide / 2 * forward,
    ]
    bottom = [(*c, 0.0) for c in corners]
    top = [(*c, height) for c in corners]
    mesh.prism(bottom, top, wall, PixelClass.BUILDING)
    for a, b, normal in (
        (corners[0], corners[3], left),
        (corners[0], corners[1], -forward),
        (corners[3], corners[2], forward),
    ):
        _windows(mesh, a + 0.06 * normal, b + 0.06 * normal, floors)
    base = [(*(c + 0.03 * (left if i in (0, 3) else -left)), 0.0) for i, c in enumerate(corners)]
    rim = [(x, y, 0.7) for x, y, _ in base]
    mesh.prism(base, rim, (104, 100, 96), PixelClass.BUILDING, lid=False)


def _windows(mesh: Mesh, a: NDArray[np.float64], b: NDArray[np.float64], floors: int) -> None:
    span = float(np.linalg.norm(b - a))
    direction = (b - a) / span
    columns = int((span - 1.0) // 2.7)
    if columns < 1:
        return
    margin = (span - columns * 2.7) / 2
    for row in range(floors):
        low = 1.1 + row * 3.1
        for column in range(columns):
            p = a + (margin + column * 2.7 + 0.65) * direction
            q = p + 1.4 * direction
            mesh.quad(
                [(*p, low), (*q, low), (*q, low + 1.5), (*p, low + 1.5)],
                _WINDOW,
                PixelClass.BUILDING,
                flat=True,
            )


def _trees_and_posts(cells: _Cells, edge: Edge, rng: np.random.Generator) -> None:
    line, length = _even(shift_left(edge.lanes[0], _outer_offset(edge) - 1.0), 1.0)
    if not edge.is_main:
        return
    share = float(rng.uniform(0.2, 0.8))
    for number, at in enumerate(np.arange(14.0, length - 24.0, 11.0)):
        point = line[int(at / length * (len(line) - 1))]
        if number % 3 == 0:
            mesh = cells.at(point)
            mesh.tube(point, (0.1, 0.07), (0.0, 6.5), _STEEL, PixelClass.POLE, sides=5)
        elif rng.random() < share:
            _tree(cells.at(point), point + rng.uniform(-0.4, 0.4, 2), rng)


def _tree(mesh: Mesh, point: NDArray[np.float64], rng: np.random.Generator) -> None:
    leaves = _LEAVES[int(rng.integers(len(_LEAVES)))]
    dark = tuple(int(c * 0.8) for c in leaves)
    trunk, radius = float(rng.uniform(2.2, 3.0)), float(rng.uniform(1.3, 2.0))
    mesh.tube(point, (0.17, 0.14), (0.0, trunk + 0.3), (86, 66, 48), PixelClass.VEGETATION, 5)
    kind = PixelClass.VEGETATION
    mesh.tube(point, (0.5 * radius, radius), (trunk, trunk + 0.8), dark, kind, 7)  # type: ignore[arg-type]
    mesh.tube(point, (radius, 0.9 * radius), (trunk + 0.8, trunk + 1.9), leaves, kind, 7)
    mesh.tube(point, (0.9 * radius, 0.35 * radius), (trunk + 1.9, trunk + 3.2), leaves, kind, 7)


def _heads(
    road: RoadNetwork, signal: Signal
) -> list[tuple[NDArray[np.float64], float, NDArray[np.float64] | None]]:
    """Where the heads of an approach hang: (x, y), height of the lower rim, foot of the mast."""
    edge = road.edge(signal.edge_id)
    forward, left = _axes(signal.heading_rad)
    right_side = signal.stop_points[0] + (_outer_offset(edge) - 0.7) * left
    near = right_side + 0.4 * forward
    far = (signal.far_distance_m + 1.0) * forward
    mast = right_side + far
    heads: list[tuple[NDArray[np.float64], float, NDArray[np.float64] | None]] = [(near, 2.3, near)]
    for number, point in enumerate(signal.stop_points):
        heads.append((point + far, 3.5, mast if number == len(signal.stop_points) - 1 else None))
    return heads


def _face(
    heading_rad: float, point: NDArray[np.float64], size: tuple[float, float, float], ahead: float
) -> list[tuple[float, float, float]]:
    """An upright rectangle that looks towards the traffic: half width, low, high."""
    forward, left = _axes(heading_rad)
    half, low, high = size
    at = point - ahead * forward
    a, b = at + half * left, at - half * left
    return [(*a, low), (*b, low), (*b, high), (*a, high)]


def _housing(mesh: Mesh, heading: float, point: NDArray[np.float64], low: float) -> None:
    height = 3 * _LAMP_GAP_M + 0.15
    forward, left = _axes(heading)
    ring = [
        point + a * forward + b * left
        for a, b in ((-0.2, 0.58), (-0.2, -0.58), (0.2, -0.58), (0.2, 0.58))
    ]
    mesh.prism(
        [(*p, low) for p in ring], [(*p, low + height) for p in ring], _HOUSING,
        PixelClass.LIGHT_HOUSING,
    )  # fmt: skip
    frame = _face(heading, point, (0.66, low - 0.08, low + height + 0.08), 0.14)
    mesh.quad(frame, (232, 232, 226), PixelClass.LIGHT_HOUSING, flat=True)
    frame = _face(heading, point, (0.58, low, low + height), 0.21)
    mesh.quad(frame, _HOUSING, PixelClass.LIGHT_HOUSING, flat=True)
    for state in _LAMP_ORDER:
        dark = tuple(int(20 + 0.10 * c) for c in LAMP_COLOURS[state])
        _disc(mesh, heading, point, low, state, dark, PixelClass.LIGHT_HOUSING, 0.24)  # type: ignore[arg-type]


def _disc(
    mesh: Mesh,
    heading: float,
    point: NDArray[np.float64],
    low: float,
    state: LightState,
    colour: Colour,
    kind: PixelClass,
    ahead: float,
) -> None:
    forward, left = _axes(heading)
    row = len(_LAMP_ORDER) - 1 - _LAMP_ORDER.index(state)
    z = low + 0.075 + (row + 0.5) * _LAMP_GAP_M
    at = point - ahead * forward
    angles = np.arange(8) * np.pi / 4
    rim = [
        (*(at + _LAMP_RADIUS_M * np.cos(t) * left), z + _LAMP_RADIUS_M * np.sin(t)) for t in angles
    ]
    for i in range(0, 6, 2):  # a fan of quads over the octagon
        mesh.quad([rim[0], rim[i + 1], rim[i + 2], rim[(i + 3) % 8]], colour, kind, flat=True)


def _mast(mesh: Mesh, heading: float, head: NDArray[np.float64], foot: NDArray[np.float64]) -> None:
    reach = float(np.linalg.norm(head - foot))
    top = 5.0 if reach > 1.0 else 2.5
    mesh.tube(foot, (0.13, 0.11), (0.0, top + 0.1), _STEEL, PixelClass.POLE, sides=6)
    if reach <= 1.0:
        return
    forward, _ = _axes(heading)
    a, b = foot + 0.25 * forward, head + 0.25 * forward
    for low, high in ((top - 0.1, top + 0.1),):
        mesh.quad([(*a, low), (*b, low), (*b, high), (*a, high)], _STEEL, PixelClass.POLE)


def lamp_disc(road: RoadNetwork, signal: Signal, state: LightState) -> Mesh:
    """The lit lamps of one approach; the class is painted over by the renderer."""
    mesh = Mesh()
    for point, low, _ in _heads(road, signal):
        _disc(
            mesh, signal.heading_rad, point, low, state, LAMP_COLOURS[state],
            PixelClass.OTHER_LIGHT, 0.27,
        )  # fmt: skip
    return mesh


def _closing_rows(cells: _Cells, road: RoadNetwork, rng: np.random.Generator) -> None:
    """Houses across the far ends, so that no street runs into nothing."""
    for edge in road.edges:
        if edge.ends_at_junction:
            continue
        line, _ = _even(edge.lanes[0], 1.0)
        heading = float(np.arctan2(*(line[-1] - line[-2])[::-1]))
        forward, left = _axes(heading)
        across = heading + np.pi / 2
        for k in (-1, 0, 1):
            middle = line[-1] + 26.0 * forward + (17.0 * k + 5.0) * left
            _building(cells.at(middle), middle, across, 0.0, 16.0, rng)
