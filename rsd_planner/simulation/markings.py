"""What is painted on the road: edge lines, dividers, stop lines, yield lines, zebra stripes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.mesh import Colour, Mesh
from rsd_planner.simulation.placing import axes, even
from rsd_planner.simulation.road import Edge, RoadNetwork, Signal
from rsd_planner.simulation.route import shift_left

__all__ = ["crosswalk", "markings"]

_WHITE: Colour = (228, 228, 222)
_YELLOW: Colour = (226, 190, 70)
_STOP: Colour = (240, 240, 236)
_SOLID_BEFORE_STOP_M = 12.0
_PARTED_M = 26.0
_ZEBRA_M, _STRIPE_M = 3.6, 0.5


def markings(mesh: Mesh, road: RoadNetwork) -> None:
    """All markings of a network."""
    for edge in road.edges:
        if edge.role == "ring":
            _ring(mesh, edge)
        elif edge.kind == "motorway":
            _ramp_or_extra(mesh, edge)
        elif edge.kind == "rural":
            _rural(mesh, road, edge)
        else:
            _town(mesh, road, edge)
    for way in (road.route, road.backward):
        for chain in _chains(road, way):
            _carriageway(mesh, chain, two_way=bool(road.backward))
    for signal in road.signals:
        _stop_line(mesh, road, signal)
    for junction in road.junctions:
        for edge_id in junction.yielding:
            _yield_line(mesh, road.edge(edge_id))


def crosswalk(road: RoadNetwork, route_distance_m: float) -> Mesh:
    """Zebra stripes from kerb to kerb across the ego's road, centred at that arc length."""
    mesh = Mesh()
    edge, _ = road.edge_at(route_distance_m)
    lane, width = road.path_lanes[edge.edge_id], edge.lane_width_m
    right = -(lane + 0.5) * width - edge.paved_m
    left = (len(edge.lanes) - lane - 0.5) * width
    if edge.edge_id.replace("f", "b") in road.backward:
        opposite = road.edge(edge.edge_id.replace("f", "b"))
        left += len(opposite.lanes) * width + opposite.paved_m
    ends = route_distance_m - _ZEBRA_M / 2, route_distance_m + _ZEBRA_M / 2
    count = int((left - right - 0.4) / (2 * _STRIPE_M))
    first = (left + right) / 2 - (count - 0.5) * _STRIPE_M
    for i in range(count):
        at = first + 2 * i * _STRIPE_M
        corners = [
            (*road.path.beside(s, d), 0.0)
            for s, d in (
                (ends[0], at), (ends[1], at), (ends[1], at + _STRIPE_M), (ends[0], at + _STRIPE_M)
            )
        ]  # fmt: skip
        mesh.quad(corners, _STOP, PixelClass.MARKING, flat=True)
    return mesh


def _line(
    mesh: Mesh,
    line: NDArray[np.float64],
    offset_m: float,
    width_m: float = 0.16,
    colour: Colour = _WHITE,
) -> None:
    """A solid line beside a polyline."""
    left, right = offset_m + width_m / 2, offset_m - width_m / 2
    mesh.ribbon(shift_left(line, left), shift_left(line, right), colour, PixelClass.MARKING)


def _dashes(
    mesh: Mesh,
    line: NDArray[np.float64],
    offset_m: float,
    pattern: tuple[float, float],
    width_m: float = 0.16,
    solid: list[tuple[float, float]] | None = None,
) -> None:
    """Dashes beside a polyline that is even in metres; `solid` are stretches without gaps."""
    left = shift_left(line, offset_m + width_m / 2)
    right = shift_left(line, offset_m - width_m / 2)
    dash, gap = pattern
    spans = [(max(0.0, a), min(b, len(line) - 1.0)) for a, b in solid or []]
    spans = [(a, b) for a, b in spans if b - a > 1.0]
    dashes = [(at, at + dash) for at in np.arange(1.0, len(line) - 2.0, dash + gap).tolist()]
    free = [d for d in dashes if not any(d[0] < b and a < d[1] for a, b in spans)]
    for start, stop in spans + free:
        a, b = int(start), min(len(line), int(stop) + 1)
        mesh.ribbon(left[a:b], right[a:b], _WHITE, PixelClass.MARKING)


def _town(mesh: Mesh, road: RoadNetwork, edge: Edge) -> None:
    line, _ = even(edge.lanes[0], 1.0)
    width, lanes = edge.lane_width_m, len(edge.lanes)
    centre = (lanes - 0.5) * width
    to_lights = any(signal.edge_id == edge.edge_id for signal in road.signals)
    before = [(len(line) - _SOLID_BEFORE_STOP_M, float(len(line)))] if to_lights else []
    if edge.has_parking:
        _line(mesh, line, -width / 2)
    for divider in range(1, lanes):
        _dashes(mesh, line, (divider - 0.5) * width, (3.0, 6.0), solid=before)
    # The line in the middle belongs to both ways; the way forward paints it, or the way in.
    if edge.role not in ("forward", "cross") or edge.edge_id[0] == "n":
        return
    if lanes > 1 and edge.is_main:
        _line(mesh, line, centre - 0.2, colour=_YELLOW)
        _line(mesh, line, centre + 0.2, colour=_YELLOW)
    elif lanes > 1:
        _line(mesh, line, centre)
    else:
        _dashes(mesh, line, centre, (3.0, 6.0), 0.12, before)


def _rural(mesh: Mesh, road: RoadNetwork, edge: Edge) -> None:
    line, _ = even(edge.lanes[0], 1.0)
    width = edge.lane_width_m
    _line(mesh, line, -width / 2 + 0.12)
    near = _near_ring(road, line)
    if near.any():
        _line(mesh, line[near], width / 2 - 0.12)
    if edge.role == "backward" or edge.edge_id[0] == "n":
        return
    solid = []
    if edge.edge_id in road.starts_m:
        # Along the part that is not near a ring, which may begin later than the edge.
        start = road.starts_m[edge.edge_id] + float(np.argmin(near))
        solid = [(c.start_m - start - 25.0, c.end_m - start + 10.0) for c in road.curves]
    _dashes(mesh, line[~near], width / 2, (4.0, 8.0), 0.14, solid)


def _near_ring(road: RoadNetwork, line: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points lie where the two ways part before a roundabout."""  # (points,)
    near = np.zeros(len(line), dtype=bool)
    for center, radius in road.islands:
        near |= np.linalg.norm(line - center, axis=1) < radius + _PARTED_M
    return near


def _ring(mesh: Mesh, edge: Edge) -> None:
    line, _ = even(edge.lanes[0], 1.0)
    _line(mesh, line, -edge.lane_width_m / 2 + 0.15)


def _ramp_or_extra(mesh: Mesh, edge: Edge) -> None:
    """Ramps have a line on both sides; an extra lane is parted by short, broad dashes."""
    line, _ = even(edge.lanes[0], 1.0)
    width = edge.lane_width_m
    if edge.role in ("on_ramp", "off_ramp"):
        _line(mesh, line, -width / 2 + 0.1)
        _line(mesh, line, width / 2 - 0.1)
    elif edge.extra_lanes:
        _line(mesh, line, -width / 2, 0.2)
        _dashes(mesh, line, width / 2, (3.0, 3.0), 0.3)


def _chains(road: RoadNetwork, way: tuple[str, ...]) -> list[list[Edge]]:
    """The edges of motorway that follow one another."""
    chains: list[list[Edge]] = [[]]
    for edge_id in way:
        edge = road.edge(edge_id)
        if edge.kind == "motorway":
            chains[-1].append(edge)
        elif chains[-1]:
            chains.append([])
    return [chain for chain in chains if chain]


def _carriageway(mesh: Mesh, chain: list[Edge], two_way: bool) -> None:
    """The lines of the through lanes of a motorway, over its junctions."""
    width = chain[0].lane_width_m
    lanes = len(chain[0].lanes) - chain[0].extra_lanes
    line, _ = even(np.concatenate([edge.lanes[edge.extra_lanes] for edge in chain]), 1.0)
    for divider in range(1, lanes):
        _dashes(mesh, line, (divider - 0.5) * width, (6.0, 9.0))
    inset = 0.45 if two_way else 0.0
    _line(mesh, line, (lanes - 0.5) * width - inset, 0.2)
    for edge in chain:  # on the right only where no lane joins or leaves
        if not edge.extra_lanes:
            _line(mesh, even(edge.lanes[0], 1.0)[0], -width / 2, 0.2)


def _approach(edge: Edge) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The right and left end of an edge's lanes, and the direction of arrival."""
    lane = edge.lanes[0]
    heading = float(np.arctan2(*(lane[-1] - lane[-2])[::-1]))
    forward, left = axes(heading)
    half = edge.lane_width_m / 2
    return edge.lanes[0][-1] - half * left, edge.lanes[-1][-1] + half * left, forward


def _stop_line(mesh: Mesh, road: RoadNetwork, signal: Signal) -> None:
    a, b, forward = _approach(road.edge(signal.edge_id))
    near = np.stack([a - 0.8 * forward, b - 0.8 * forward])
    far = np.stack([a - 0.1 * forward, b - 0.1 * forward])
    mesh.ribbon(far, near, _STOP, PixelClass.STOP_LINE)


def _yield_line(mesh: Mesh, edge: Edge) -> None:
    """A row of triangles that point at those who must give way."""
    a, b, forward = _approach(edge)
    count = max(2, int(np.linalg.norm(b - a) / 0.75))
    step = (b - a) / count
    for i in range(count):
        p = a + (i + 0.12) * step - 0.15 * forward
        q = a + (i + 0.88) * step - 0.15 * forward
        tip = a + (i + 0.5) * step - 1.0 * forward
        corners = [(*p, 0.0), (*q, 0.0), (*tip, 0.0), (*tip, 0.0)]
        mesh.quad(corners, _STOP, PixelClass.STOP_LINE, flat=True)
