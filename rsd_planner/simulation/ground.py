"""What lies on the flat ground: fields, pavements, asphalt, and what is painted on it.

Layers are painted one over the other without depth.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.markings import markings
from rsd_planner.simulation.mesh import Colour, Mesh
from rsd_planner.simulation.placing import axes, even
from rsd_planner.simulation.polygons import counter_clockwise, grown_hull, triangles
from rsd_planner.simulation.road import Edge, RoadNetwork
from rsd_planner.simulation.route import shift_left

__all__ = ["ground_layers", "opposite_carriageway", "outer_offset", "taper_width", "walk_width"]

_TOWN = ("city", "oldtown")
_ASPHALT: dict[str, Colour] = {
    "city": (84, 86, 90), "oldtown": (98, 94, 90), "rural": (80, 81, 83), "motorway": (92, 93, 95),
}  # fmt: skip
_PARKING = (98, 99, 101)
_WALK = (150, 148, 142)
_KERB = (186, 184, 178)
_YARD = (138, 134, 126)
_LAWN = (112, 130, 92)
_GRAVEL = (132, 126, 112)
_FIELDS: tuple[Colour, ...] = (
    (146, 148, 92), (104, 128, 74), (170, 156, 98), (120, 138, 88), (128, 110, 84), (94, 120, 70),
)  # fmt: skip
_KERB_M = 0.3
_SHOULDER_M = 2.6
_FIELD_M = 55.0
_TAPER_M = 55.0  # beyond the end of an extra lane
_OVER_M = 10.0
_MEDIAN_M = 7.0  # of a motorway whose other way is only scenery
_YARD_M = 16.0  # paved ground under the houses of an old town


def outer_offset(edge: Edge) -> float:
    """From the rightmost lane's middle to the kerb (negative: to the right)."""
    return -(edge.lane_width_m / 2 + edge.paved_m)


def walk_width(kind: str) -> float:
    """Of the pavement."""
    return {"city": 3.2, "oldtown": 1.9}.get(kind, 0.0)


def ground_layers(road: RoadNetwork) -> list[Mesh]:
    """Meshes in the order of painting."""
    fields, walks, kerbs, asphalt, islands, lawns, paint = (Mesh() for _ in range(7))
    for edge in road.edges:
        if edge.kind not in _TOWN and edge.is_main:
            _fields(fields, edge)
        _beside((fields, walks, kerbs), edge)
        _lanes(asphalt, road, edge)
        if edge.kind == "motorway" and edge.role == "forward" and not road.backward:
            _opposite(asphalt, paint, edge)
    for junction in road.junctions:
        area = counter_clockwise(junction.area)
        if junction.place in _TOWN:
            hull = grown_hull(area, walk_width(junction.place) + _KERB_M)
            _polygon(walks, hull, _WALK, PixelClass.GROUND)
            _rim(kerbs, area, _KERB_M, _KERB)
        if junction.place == "motorway":  # its shoulders go on
            area = grown_hull(area, _SHOULDER_M)
        _polygon(asphalt, area, _ASPHALT[junction.place], PixelClass.ROAD)
    for area in _arms(road):
        _polygon(asphalt, area, _ASPHALT["rural"], PixelClass.ROAD)
    for center, radius in road.islands:
        _disc(asphalt, center, radius + 4.2, _ASPHALT["rural"], PixelClass.ROAD)
        _disc(islands, center, radius - 0.1, _KERB, PixelClass.GROUND)
        _disc(lawns, center, radius - 0.5, _LAWN, PixelClass.GROUND)
    markings(paint, road)
    layers = [fields, walks, kerbs, asphalt, islands, lawns, paint]
    return [mesh for mesh in layers if len(mesh)]


def _beside(layers: tuple[Mesh, Mesh, Mesh], edge: Edge) -> None:
    yards, mesh, kerbs = layers
    line, _ = even(edge.lanes[0], 3.0)
    outer = outer_offset(edge)
    if edge.kind in _TOWN:
        kerb = shift_left(line, outer - _KERB_M)
        far = shift_left(line, outer - _KERB_M - walk_width(edge.kind))
        if edge.kind == "oldtown":
            yard = shift_left(line, outer - _YARD_M)
            yards.ribbon(far, yard, _YARD, PixelClass.GROUND)
        mesh.ribbon(kerb, far, _WALK, PixelClass.GROUND)
        kerbs.ribbon(shift_left(line, outer), kerb, _KERB, PixelClass.GROUND)
        return
    inner = shift_left(line, (len(edge.lanes) - 0.5) * edge.lane_width_m + 1.0)
    mesh.ribbon(inner, shift_left(line, outer - 1.0), _GRAVEL, PixelClass.GROUND)


def _lanes(mesh: Mesh, road: RoadNetwork, edge: Edge) -> None:
    line, length = even(edge.lanes[0], 2.0)
    colour = _ASPHALT[edge.kind]
    alone = edge.role == "forward" and not road.backward
    middle = 1.2 if alone else 0.05
    inner = shift_left(line, (len(edge.lanes) - 0.5) * edge.lane_width_m + middle)
    border, outer = shift_left(line, -edge.lane_width_m / 2), shift_left(line, outer_offset(edge))
    mesh.ribbon(inner, border, colour, PixelClass.ROAD)
    mesh.ribbon(border, outer, _PARKING if edge.has_parking else colour, PixelClass.ROAD)
    wide = taper_width(road, edge, length, len(line))
    if wide.any():
        far = outer + wide[:, None] * (shift_left(line, outer_offset(edge) - 1.0) - outer)
        mesh.ribbon(_over_ends(outer), _over_ends(far), colour, PixelClass.ROAD)


def taper_width(road: RoadNetwork, edge: Edge, length_m: float, count: int) -> NDArray[np.float64]:
    """How much wider the asphalt is at even places of an edge, where an extra lane was or will be.

    Where a ramp joins or leaves it has asphalt of its own. (count,)
    """
    wide = np.zeros(count)
    if edge.edge_id not in road.route:
        return wide
    at = road.route.index(edge.edge_id)
    away = np.linspace(0.0, length_m, count)
    for index, entry, distance in ((at - 1, True, away), (at + 1, False, length_m - away)):
        if not 0 <= index < len(road.route) or road.edge(road.route[index]).kind != "motorway":
            continue
        # To the right of the path: after the lane of an entry, or before that of an exit.
        more = road.path_lanes[road.route[index]] - road.path_lanes[edge.edge_id]
        ramps = {ramp.beside_id for ramp in road.ramps if ramp.entry is not entry}
        if more > 0 and road.route[index] not in ramps:
            wide += more * edge.lane_width_m * np.clip(1 - distance / _TAPER_M, 0.0, 1.0)
    return wide


def _over_ends(line: NDArray[np.float64]) -> NDArray[np.float64]:
    """The line lengthened over the junctions at its ends."""
    first, last = line[0] - line[1], line[-1] - line[-2]
    first, last = (_OVER_M * step / np.linalg.norm(step) for step in (first, last))
    return np.concatenate([line[:1] + first, line, line[-1:] + last])


def _arms(road: RoadNetwork) -> list[NDArray[np.float64]]:
    """For each arm of a roundabout the ground between those who leave it and who enter it."""
    nodes = {j.junction_id: j.area for j in road.junctions if j.kind == "roundabout"}
    pairs = []
    for name, area in nodes.items():
        ring, number = name.rsplit("_", 1)
        if int(number) % 2:
            after = nodes[f"{ring}_{(int(number) + 1) % 8}"]
            pairs.append(grown_hull(np.concatenate([area, after]), 0.0))
    return pairs


def opposite_carriageway(edge: Edge) -> NDArray[np.float64]:
    """Where the other way of a one-way motorway runs: its right border as seen from there."""
    line, _ = even(edge.lanes[-1], 6.0)
    return shift_left(line, 0.5 * edge.lane_width_m + _MEDIAN_M)


def _opposite(asphalt: Mesh, paint: Mesh, edge: Edge) -> None:
    """An empty road beyond the median, only to be seen."""
    border = opposite_carriageway(edge)
    wide = len(edge.lanes) - edge.extra_lanes
    far = shift_left(border, wide * edge.lane_width_m + edge.paved_m)
    asphalt.ribbon(far, shift_left(border, -1.0), _ASPHALT["motorway"], PixelClass.ROAD)
    for number in (0, wide):
        at = number * edge.lane_width_m
        left, right = shift_left(border, at + 0.1), shift_left(border, at - 0.1)
        paint.ribbon(left, right, (228, 228, 222), PixelClass.MARKING)


def _fields(mesh: Mesh, edge: Edge) -> None:
    """Crops in strips beside the road, always the same on the same road."""
    line, length = even(edge.lanes[0], 4.0)
    rng = np.random.default_rng([len(edge.edge_id), int(1000 * length)])
    near = outer_offset(edge) - (5.0 if edge.kind == "rural" else 14.0)
    start = 0
    while start < len(line) - 8:
        stop = min(len(line), start + int(rng.integers(14, 34)))
        if rng.random() < 0.75:
            part = line[start:stop]
            colour = _FIELDS[int(rng.integers(len(_FIELDS)))]
            # Sideways by the chord, so that the far side does not fold up in a bend.
            heading = float(np.arctan2(*(part[-1] - part[0])[::-1]))
            _, left = axes(heading)
            far = part + (near - _FIELD_M) * left
            mesh.ribbon(shift_left(part, near), far, colour, PixelClass.GROUND)
        start = stop + 1


def _polygon(mesh: Mesh, area: NDArray[np.float64], colour: Colour, kind: PixelClass) -> None:
    for triangle in triangles(area):
        a, b, c = np.column_stack([triangle, np.zeros(3)])
        mesh.quad([a, b, c, c], colour, kind, flat=True)


def _rim(mesh: Mesh, area: NDArray[np.float64], wide_m: float, colour: Colour) -> None:
    """A strip outside every side of a counter-clockwise polygon."""
    for a, b in zip(area, np.roll(area, -1, axis=0), strict=True):
        side = np.array([b[1] - a[1], a[0] - b[0]]) * wide_m / np.linalg.norm(b - a)
        corners = [(*p, 0.0) for p in (a, b, b + side, a + side)]
        mesh.quad(corners, colour, PixelClass.GROUND, flat=True)


def _disc(
    mesh: Mesh, center: NDArray[np.float64], radius: float, colour: Colour, kind: PixelClass
) -> None:
    angles = np.linspace(0.0, 2 * np.pi, 60, endpoint=False)
    rim = center + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    _polygon(mesh, rim, colour, kind)
