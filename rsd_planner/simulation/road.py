"""The values of a road network: lanes, junctions, lights, ramps and how the ego goes through.

Names of edges say what they are:

    f{i} / b{i}            the main road forward (the ego's way) and backward, block i
    c{i}l_n{i}, n{i}_c{i}l the cross road at the junction before f{i}, to it and away (l or r)
    r{i}_{k}               the ring of a roundabout, counter-clockwise from where f{i-1} enters
    on{i}, off{i}          ramps at the beginning of f{i}
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.route import Curve, RoutePath, shift_left

__all__ = ["Edge", "GiveWay", "Junction", "Ramp", "RoadNetwork", "Signal"]

_PARKING_M, _SHOULDER_M, _VERGE_M = 2.3, 2.6, 0.5


@dataclass(frozen=True)
class Edge:
    """One direction of a road between two junctions."""

    edge_id: str
    lanes: tuple[NDArray[np.float64], ...]  # centre lines (points, 2), rightmost lane first
    lane_width_m: float
    ends_at_junction: bool  # else the road ends there
    starts_at_junction: bool
    kind: str = "city"  # city, oldtown, rural, motorway
    role: str = "forward"  # forward, backward, ring, cross, on_ramp, off_ramp
    speed_mps: float = 13.9  # the limit that the network was made with
    length_m: float = 0.0  # as SUMO counts positions along it
    # Lanes on the right that come from a ramp or lead to one; the through lanes are the others.
    extra_lanes: int = 0

    @property
    def is_main(self) -> bool:
        """Whether it belongs to the street that the ego drives along, either way."""
        return self.role in ("forward", "backward")

    @property
    def has_parking(self) -> bool:
        """Whether cars may stand in a strip to the right of its lanes."""
        return self.is_main and self.kind == "city"

    @property
    def paved_m(self) -> float:
        """Width of the paved strip to the right of its lanes."""
        if self.has_parking:
            return _PARKING_M
        if self.kind == "motorway" and self.is_main:
            return _SHOULDER_M
        return _VERGE_M if self.kind in ("rural", "motorway") else 0.3

    def offset_line(self, offset_m: float) -> NDArray[np.float64]:
        """The rightmost lane's centre line moved to the left by `offset_m`."""  # (points, 2)
        return shift_left(self.lanes[0], offset_m)


@dataclass(frozen=True)
class Signal:
    """The traffic light of one approach to a junction."""

    light_id: str
    edge_id: str
    link_index: int  # SUMO's index of the link that goes straight on
    stop_points: NDArray[np.float64]  # (lanes, 2) where the lanes end
    heading_rad: float  # of traffic that arrives
    far_distance_m: float  # from the stop line to where the junction ends on the other side


@dataclass(frozen=True)
class Junction:
    """A place where edges meet."""

    junction_id: str
    kind: str  # lights, priority (somebody gives way), roundabout, ramp, plain
    place: str  # city, oldtown, rural, motorway
    area: NDArray[np.float64]  # (corners, 2)
    yielding: tuple[str, ...]  # the edges on which one must give way


@dataclass(frozen=True)
class GiveWay:
    """A place on the ego's route where others have the right of way."""

    edge_id: str  # at whose end the ego waits
    junction_id: str
    distance_m: float  # of the yield line along the route
    end_m: float  # where the ego has left the others' way
    cross_routes: tuple[tuple[str, ...], ...]  # edges in order of those who may cross there
    roundabout: bool


@dataclass(frozen=True)
class Ramp:
    """An entry whose lane ends beside the ego's road, or an exit."""

    edge_id: str
    entry: bool
    beside_id: str  # the forward edge whose rightmost lane comes from it or leads to it
    route: tuple[str, ...]  # of vehicles that use it, from or to the ego's road
    start_m: float  # where its lane begins beside the route
    end_m: float  # where that lane ends


@dataclass(frozen=True)
class RoadNetwork:
    """What can be drawn of a network, and how the ego goes through it."""

    name: str
    edges: tuple[Edge, ...]
    junction_areas: tuple[NDArray[np.float64], ...]  # (corners, 2) each
    signals: tuple[Signal, ...]
    blocks: int  # number of edges f0, f1, … along the street
    kind: str  # of the first edge; a network of a mixed kind has edges of others too
    junctions: tuple[Junction, ...]
    route: tuple[str, ...]  # the ego's edges in order
    backward: tuple[str, ...]  # the edges of the oncoming traffic in order; none on some motorways
    cross_routes: tuple[tuple[str, ...], ...]  # of traffic that enters from the side
    path: RoutePath  # the middle of the rightmost lane that goes all the way
    path_lanes: dict[str, int]  # which lane that is on each edge of the route
    starts_m: dict[str, float]  # where each edge of the route begins on the path
    ends_m: dict[str, float]
    curves: tuple[Curve, ...]  # along the path
    give_ways: tuple[GiveWay, ...]
    ramps: tuple[Ramp, ...]
    islands: tuple[tuple[NDArray[np.float64], float], ...]  # of roundabouts: middle (2,), radius

    def edge(self, edge_id: str) -> Edge:
        """The edge of that name."""
        return next(edge for edge in self.edges if edge.edge_id == edge_id)

    @property
    def forward(self) -> tuple[Edge, ...]:
        """The edges of the route, rings included."""
        return tuple(self.edge(edge_id) for edge_id in self.route)

    @property
    def main(self) -> tuple[Edge, ...]:
        """The edges of the main road, both ways, without rings."""
        return tuple(edge for edge in self.edges if edge.is_main)

    def onward(self, edge_id: str) -> tuple[str, ...]:
        """The edges from this one to the end of its road, this one included."""
        way = self.route if edge_id in self.route else self.backward
        return way[way.index(edge_id) :]

    def edge_at(self, distance_m: float) -> tuple[Edge, float]:
        """The edge of the route at an arc length, or the next after a junction; SUMO position."""
        for edge_id in self.route:
            if distance_m <= self.ends_m[edge_id]:
                break
        edge = self.edge(edge_id)
        return edge, float(np.clip(distance_m - self.starts_m[edge_id], 0.0, edge.length_m))

    def distance(self, edge_id: str, position_m: float) -> float:
        """Arc length of a SUMO position on an edge of the route."""
        return self.starts_m[edge_id] + position_m
