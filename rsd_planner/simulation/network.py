"""A road network as geometry: lanes, junctions, traffic lights, ramps and the ego's route.

Reads the SUMO `.net.xml` files that are checked in under `networks/`. It knows only what the
renderer and the world need; the values are those of `road.py`.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.road import Edge, GiveWay, Junction, Ramp, RoadNetwork, Signal
from rsd_planner.simulation.route import Curve, RoutePath, find_curves, shift_left

__all__ = [
    "HELD_OUT",
    "NETWORKS",
    "NETWORKS_BY_KIND",
    "Curve",
    "Edge",
    "GiveWay",
    "Junction",
    "Ramp",
    "RoadNetwork",
    "RoutePath",
    "Signal",
    "load_network",
    "network_path",
    "shift_left",
]

_FOLDER = Path(__file__).parent / "networks"
# For training, by the kind that they begin with. Those held out are never driven by a training
# seed.
NETWORKS_BY_KIND: dict[str, tuple[str, ...]] = {
    "city": (
        *("avenue", "bend", "boulevard", "oldtown", "market", "plaza"),
        *("city1", "city2", "city3", "city4", "city5"),
    ),
    "oldtown": ("alley", "cobble", "old1", "old2", "old3"),
    "rural": ("valley", "meadow", "rural1", "rural2", "rural3", "rural4"),
    "motorway": ("bypass", "expressway", "beltway", "fast1", "fast2", "fast3", "fast4", "fast5"),
}
NETWORKS = tuple(name for names in NETWORKS_BY_KIND.values() for name in names)
HELD_OUT = ("harbour", "ridge")
_ROLES = (
    (r"f\d+", "forward"),
    (r"b\d+", "backward"),
    (r"r\d+_\d", "ring"),
    (r"on\d+", "on_ramp"),
    (r"off\d+", "off_ramp"),
    (r"c\d+[lr]_n\d+|n\d+_c\d+[lr]", "cross"),
)


def network_path(name: str) -> Path:
    """Where the SUMO file of a network lies. Raises ValueError for an unknown name."""
    known = NETWORKS + HELD_OUT
    if name not in known:
        raise ValueError(f"there is no network {name!r}; choose from {', '.join(known)}")
    return _FOLDER / f"{name}.net.xml"


@lru_cache(maxsize=len(NETWORKS + HELD_OUT))
def load_network(name: str) -> RoadNetwork:
    """Reads a network that is checked in."""
    return _Reader(name).network()


def _shape(text: str) -> NDArray[np.float64]:
    return np.array([[float(v) for v in point.split(",")[:2]] for point in text.split()])


class _Reader:
    """Puts the parts of one file together."""

    def __init__(self, name: str) -> None:
        root = ElementTree.parse(network_path(name)).getroot()
        self._name = name
        self._junctions = {
            j.attrib["id"]: j
            for j in root.findall("junction")
            if j.attrib["type"] not in ("dead_end", "internal")
        }
        self._ring_nodes = {
            node for r in root.findall("roundabout") for node in r.attrib["nodes"].split()
        }
        self._connections = [c.attrib for c in root.findall("connection")]
        self._inner = {
            lane.attrib["id"]: (_shape(lane.attrib["shape"]), float(lane.attrib["length"]))
            for e in root.findall("edge")
            if e.get("function") == "internal"
            for lane in e.findall("lane")
        }
        elements = {
            e.attrib["id"]: e for e in root.findall("edge") if e.get("function") != "internal"
        }
        self._ends = {name: e.attrib["to"] for name, e in elements.items()}
        self._route = self._way("f", elements, ring=0)
        self._backward = self._way("b", elements, ring=4)
        self._path_lanes = self._find_path_lanes()
        self._edges = {name: self._edge(e) for name, e in elements.items()}

    def network(self) -> RoadNetwork:
        path, starts, ends = self._path()
        junctions = tuple(self._junction(j) for j in self._junctions.values())
        cross_routes = self._cross_routes()
        first = self._edges[self._route[0]]
        return RoadNetwork(
            name=self._name,
            edges=tuple(self._edges.values()),
            junction_areas=tuple(junction.area for junction in junctions),
            signals=self._signals(),
            blocks=sum(1 for name in self._route if name[0] == "f"),
            kind=first.kind,
            junctions=junctions,
            route=self._route,
            backward=self._backward,
            cross_routes=cross_routes,
            path=path,
            path_lanes=self._path_lanes,
            starts_m=starts,
            ends_m=ends,
            curves=find_curves(path),
            give_ways=self._give_ways(junctions, cross_routes, starts, ends),
            ramps=self._ramps(starts, ends),
            islands=self._islands(),
        )

    def _way(
        self, letter: str, elements: dict[str, ElementTree.Element], ring: int
    ) -> tuple[str, ...]:
        """The main road one way, with the half rings between its blocks."""
        names = sorted(
            (name for name in elements if re.fullmatch(rf"{letter}\d+", name)),
            key=lambda name: int(name[1:]) * (1 if letter == "f" else -1),
        )
        way: list[str] = []
        for name in names:
            number = int(name[1:]) + (0 if letter == "f" else 1)
            if way and f"r{number}_{ring}" in elements:
                way += [f"r{number}_{ring + k}" for k in range(3)]
            way.append(name)
        return tuple(way)

    def _find_path_lanes(self) -> dict[str, int]:
        """For each edge of the route the lane of the path: the rightmost that goes all the way."""
        for last in range(4):
            lanes = {self._route[-1]: last}
            for name, after in zip(self._route[-2::-1], self._route[:0:-1], strict=True):
                into = self._lanes_into(name, after, lanes[after])
                if not into:
                    break
                lanes[name] = min(into)
            else:
                return lanes
        raise ValueError(f"no lane goes through the whole network {self._name!r}")

    def _lanes_into(self, name: str, after: str, lane: int | None = None) -> list[int]:
        """The lanes of an edge from which one gets to (a lane of) the next."""
        return [
            int(c["fromLane"])
            for c in self._connections
            if c["from"] == name and c["to"] == after and lane in (None, int(c["toLane"]))
        ]

    def _extra_lanes(self, name: str) -> int:
        """How many lanes on the right of a motorway do not go on."""
        if name not in self._route[:-1]:
            return 0
        return min(self._lanes_into(name, self._route[self._route.index(name) + 1]))

    def _edge(self, element: ElementTree.Element) -> Edge:
        name, lanes = element.attrib["id"], element.findall("lane")
        return Edge(
            edge_id=name,
            lanes=tuple(_shape(lane.attrib["shape"]) for lane in lanes),
            lane_width_m=float(lanes[0].attrib["width"]),
            ends_at_junction=element.attrib["to"] in self._junctions,
            starts_at_junction=element.attrib["from"] in self._junctions,
            kind=element.get("type", "city"),
            role=next(role for pattern, role in _ROLES if re.fullmatch(pattern, name)),
            speed_mps=float(lanes[0].attrib["speed"]),
            length_m=float(lanes[0].attrib["length"]),
            extra_lanes=self._extra_lanes(name) if element.get("type") == "motorway" else 0,
        )

    def _path(self) -> tuple[RoutePath, dict[str, float], dict[str, float]]:
        points, along = [], []
        starts: dict[str, float] = {}
        ends: dict[str, float] = {}
        at = 0.0
        for index, name in enumerate(self._route):
            edge = self._edges[name]
            pieces = [(edge.lanes[self._path_lanes[name]], edge.length_m)]
            starts[name], ends[name] = at, at + edge.length_m
            if index + 1 < len(self._route):
                pieces += self._across(name, self._route[index + 1])
            for line, length in pieces:
                steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
                share = np.concatenate([[0.0], np.cumsum(steps)]) / steps.sum()
                points.append(line)
                along.append(at + share * length)
                at += length
        return RoutePath(np.concatenate(points), np.concatenate(along)), starts, ends

    def _across(self, name: str, after: str) -> list[tuple[NDArray[np.float64], float]]:
        """The inner lanes of the junction between two edges of the route, and their lengths."""
        here, lane = name, self._path_lanes[name]
        pieces: list[tuple[NDArray[np.float64], float]] = []
        while True:
            via = next(
                (
                    c.get("via")
                    for c in self._connections
                    if c["from"] == here and int(c["fromLane"]) == lane and c["to"] == after
                    and int(c["toLane"]) == self._path_lanes[after]
                ),
                None,
            )  # fmt: skip
            if via is None:
                return pieces
            pieces.append(self._inner[via])
            here, lane = via.rsplit("_", 1)[0], int(via.rsplit("_", 1)[1])

    def _junction(self, element: ElementTree.Element) -> Junction:
        name = element.attrib["id"]
        into = [edge for edge, end in self._ends.items() if end == name]
        states = {
            edge: {c["state"] for c in self._connections if c["from"] == edge} for edge in into
        }
        touching = set(into) | {c["to"] for c in self._connections if c["from"] in into}
        roles = {self._edges[edge].role for edge in touching}
        yielding = tuple(edge for edge in into if states[edge] and states[edge] <= {"m", "s"})
        if element.attrib["type"] == "traffic_light":
            kind, yielding = "lights", ()
        elif name in self._ring_nodes:
            kind = "roundabout"
        elif roles & {"on_ramp", "off_ramp"}:
            kind, yielding = "ramp", ()
        else:
            kind = "priority" if "cross" in roles else "plain"
        places = {self._edges[edge].kind for edge in touching}
        place = next(p for p in ("city", "oldtown", "rural", "motorway") if p in places)
        return Junction(name, kind, place, _shape(element.attrib["shape"]), yielding)

    def _cross_routes(self) -> tuple[tuple[str, ...], ...]:
        """Straight on where there is a road, else to the right; around a ring half-way."""
        routes = []
        for name in self._edges:
            match = re.fullmatch(r"c(\d+)([lr])_n\d+", name)
            if not match:
                continue
            number, side = match[1], match[2]
            other = f"n{number}_c{number}{'r' if side == 'l' else 'l'}"
            if f"r{number}_0" in self._edges:
                ring = (6, 7, 0) if side == "l" else (2, 3, 4)
                routes.append((name, *(f"r{number}_{k}" for k in ring), other))
            elif other in self._edges:
                routes.append((name, other))
            else:
                way = self._route if side == "r" else self._backward
                onto = f"f{number}" if side == "r" else f"b{int(number) - 1}"
                routes.append((name, *way[way.index(onto) :]))
        return tuple(routes)

    def _give_ways(
        self,
        junctions: tuple[Junction, ...],
        cross_routes: tuple[tuple[str, ...], ...],
        starts: dict[str, float],
        ends: dict[str, float],
    ) -> tuple[GiveWay, ...]:
        places = []
        for junction in junctions:
            for name in junction.yielding:
                if name not in self._route:
                    continue
                after = self._route[self._route.index(name) + 1]
                ring = junction.kind == "roundabout"
                number = int(name[1:]) + 1
                crossing = tuple(
                    route
                    for route in cross_routes
                    # Into a ring only those matter who come from the left.
                    if route[0].startswith(f"c{number}l_" if ring else f"c{number}")
                )
                places.append(
                    GiveWay(name, junction.junction_id, ends[name], starts[after], crossing, ring)
                )
        return tuple(sorted(places, key=lambda place: place.distance_m))

    def _ramps(self, starts: dict[str, float], ends: dict[str, float]) -> tuple[Ramp, ...]:
        ramps = []
        for edge in self._edges.values():
            if edge.role not in ("on_ramp", "off_ramp"):
                continue
            entry = edge.role == "on_ramp"
            number = int(re.sub(r"\D", "", edge.edge_id))
            beside = f"f{number}" if entry else f"f{number - 1}"
            index = self._route.index(beside)
            route = (edge.edge_id, *self._route[index:]) if entry else (
                *self._route[: index + 1], edge.edge_id
            )  # fmt: skip
            ramps.append(Ramp(edge.edge_id, entry, beside, route, starts[beside], ends[beside]))
        return tuple(sorted(ramps, key=lambda ramp: ramp.start_m))

    def _islands(self) -> tuple[tuple[NDArray[np.float64], float], ...]:
        rings: dict[str, list[Edge]] = {}
        for edge in self._edges.values():
            if edge.role == "ring":
                rings.setdefault(edge.edge_id.split("_")[0], []).append(edge)
        islands = []
        for ring in rings.values():
            points = np.concatenate([edge.offset_line(edge.lane_width_m / 2) for edge in ring])
            middle = (points.max(axis=0) + points.min(axis=0)) / 2
            islands.append((middle, float(np.linalg.norm(points - middle, axis=1).mean())))
        return tuple(islands)

    def _signals(self) -> tuple[Signal, ...]:
        signals: dict[tuple[str, str], Signal] = {}
        for connection in self._connections:
            if connection.get("tl") is None or connection.get("dir") != "s":
                continue
            key = (connection["tl"], connection["from"])
            if key not in signals:
                signals[key] = self._signal(connection)
        return tuple(signals.values())

    def _signal(self, connection: dict[str, str]) -> Signal:
        incoming = self._edges[connection["from"]]
        outgoing = self._edges[connection["to"]]
        last, before = incoming.lanes[0][-1], incoming.lanes[0][-2]
        return Signal(
            light_id=connection["tl"],
            edge_id=incoming.edge_id,
            link_index=int(connection["linkIndex"]),
            stop_points=np.stack([lane[-1] for lane in incoming.lanes]),
            heading_rad=float(np.arctan2(*(last - before)[::-1])),
            far_distance_m=float(np.linalg.norm(outgoing.lanes[0][0] - last)),
        )
