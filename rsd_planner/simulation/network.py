"""A road network as geometry: lanes, junction areas, stop lines and traffic lights.

Reads the SUMO `.net.xml` files that are checked in under `networks/`. It knows only what the
renderer and the world need; routing and right of way stay SUMO's business.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["NETWORKS", "Edge", "RoadNetwork", "Signal", "load_network", "network_path"]

_FOLDER = Path(__file__).parent / "networks"
NETWORKS = ("avenue", "bend", "boulevard", "oldtown")


@dataclass(frozen=True)
class Edge:
    """One direction of a road between two junctions."""

    edge_id: str
    lanes: tuple[NDArray[np.float64], ...]  # centre lines (points, 2), rightmost lane first
    lane_width_m: float
    ends_at_junction: bool
    starts_at_junction: bool

    @property
    def is_main(self) -> bool:
        """Whether it belongs to the street that the ego drives along."""
        return self.edge_id[0] in "fb"

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
class RoadNetwork:
    """What can be drawn of a network, and what its lights are called."""

    name: str
    edges: tuple[Edge, ...]
    junction_areas: tuple[NDArray[np.float64], ...]  # (corners, 2) each
    signals: tuple[Signal, ...]
    blocks: int  # number of edges f0, f1, … along the street

    def edge(self, edge_id: str) -> Edge:
        """The edge of that name."""
        return next(edge for edge in self.edges if edge.edge_id == edge_id)


def network_path(name: str) -> Path:
    """Where the SUMO file of a network lies."""
    if name not in NETWORKS:
        raise ValueError(f"there is no network {name!r}; choose from {', '.join(NETWORKS)}")
    return _FOLDER / f"{name}.net.xml"


def shift_left(line: NDArray[np.float64], offset_m: float) -> NDArray[np.float64]:
    """A polyline moved sideways, corner by corner."""
    tangent = np.gradient(line, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    return line + offset_m * np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)


@lru_cache(maxsize=len(NETWORKS))
def load_network(name: str) -> RoadNetwork:
    """Reads a network that is checked in."""
    root = ElementTree.parse(network_path(name)).getroot()
    junctions = {
        j.attrib["id"]: j for j in root.findall("junction") if j.attrib["type"] == "traffic_light"
    }
    edges = tuple(
        _edge(e, junctions) for e in root.findall("edge") if e.get("function") != "internal"
    )
    areas = tuple(_shape(j.attrib["shape"]) for j in junctions.values())
    by_id = {edge.edge_id: edge for edge in edges}
    signals: dict[tuple[str, str], Signal] = {}
    for connection in root.findall("connection"):
        if connection.get("tl") is None or connection.get("dir") != "s":
            continue
        key = (connection.attrib["tl"], connection.attrib["from"])
        if key not in signals:
            signals[key] = _signal(connection, by_id)
    blocks = sum(1 for edge in edges if edge.edge_id[0] == "f")
    return RoadNetwork(name, edges, areas, tuple(signals.values()), blocks)


def _shape(text: str) -> NDArray[np.float64]:
    return np.array([[float(v) for v in point.split(",")[:2]] for point in text.split()])


def _edge(element: ElementTree.Element, junctions: dict[str, ElementTree.Element]) -> Edge:
    lanes = element.findall("lane")
    return Edge(
        edge_id=element.attrib["id"],
        lanes=tuple(_shape(lane.attrib["shape"]) for lane in lanes),
        lane_width_m=float(lanes[0].attrib["width"]),
        ends_at_junction=element.attrib["to"] in junctions,
        starts_at_junction=element.attrib["from"] in junctions,
    )


def _signal(connection: ElementTree.Element, edges: dict[str, Edge]) -> Signal:
    incoming = edges[connection.attrib["from"]]
    outgoing = edges[connection.attrib["to"]]
    last, before = incoming.lanes[0][-1], incoming.lanes[0][-2]
    heading = float(np.arctan2(*(last - before)[::-1]))
    return Signal(
        light_id=connection.attrib["tl"],
        edge_id=incoming.edge_id,
        link_index=int(connection.attrib["linkIndex"]),
        stop_points=np.stack([lane[-1] for lane in incoming.lanes]),
        heading_rad=heading,
        far_distance_m=float(np.linalg.norm(outgoing.lanes[0][0] - last)),
    )
