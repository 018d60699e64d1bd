"""Signs beside the road: give way, priority, chevrons in sharp curves, speed limits, exits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.ground import outer_offset
from rsd_planner.simulation.mesh import Colour
from rsd_planner.simulation.placing import Cells, Clearance, axes, even, face
from rsd_planner.simulation.road import Edge, RoadNetwork
from rsd_planner.simulation.route import RoutePath

__all__ = ["signs"]

_WHITE: Colour = (236, 236, 232)
_RED: Colour = (196, 30, 34)
_BLACK: Colour = (26, 26, 28)
_YELLOW: Colour = (240, 190, 30)
_BLUE: Colour = (28, 76, 160)
_BACK: Colour = (120, 122, 124)
_STEEL: Colour = (108, 112, 116)
_CHEVRON_RADIUS_M = 65.0  # curves that are wider have no boards
_SEGMENTS = {  # of a digit: top, upper left, upper right, middle, lower left, lower right, bottom
    "0": "1110111", "1": "0010010", "2": "1011101", "3": "1011011", "4": "0111010",
    "5": "1101011", "6": "1101111", "7": "1010010", "8": "1111111", "9": "1111011",
}  # fmt: skip


def signs(cells: Cells, road: RoadNetwork, free: Clearance, limit_mps: float | None) -> None:
    """All signs of a network; those of the speed limit only if it is known."""
    board = _Boards(cells, free)
    for junction in road.junctions:
        for edge_id in junction.yielding:
            board.give_way(road.edge(edge_id))
        if junction.kind == "priority":
            for edge in road.edges:
                meets = np.linalg.norm(edge.lanes[0][-1] - junction.area.mean(axis=0)) < 20.0
                if edge.is_main and meets and edge.edge_id not in junction.yielding:
                    board.priority(edge)
    for center, radius in road.islands:
        board.island(road, center, radius)
    for curve in road.curves:
        on_ring = any(
            np.linalg.norm(road.path.position((curve.start_m + curve.end_m) / 2) - c) < r + 30.0
            for c, r in road.islands
        )
        if curve.radius_m < _CHEVRON_RADIUS_M and not on_ring:
            board.curve(road, curve.start_m, curve.end_m, curve.side)
    for ramp in road.ramps:
        if not ramp.entry:
            board.exit(road.edge(ramp.beside_id), road.edge(ramp.edge_id))
    if limit_mps is not None:
        for edge in road.forward[::2]:
            if edge.is_main:
                board.limit(edge, limit_mps)


class _Boards:
    """Puts boards on poles, where there is room for them."""

    def __init__(self, cells: Cells, free: Clearance) -> None:
        self._cells, self._free = cells, free

    def _spot(self, edge: Edge, from_end_m: float) -> tuple[NDArray[np.float64], float]:
        """A place to the right of an edge, and where its traffic heads there."""
        path = RoutePath(edge.lanes[0])
        at = path.length_m - from_end_m if from_end_m >= 0 else -from_end_m
        out = 0.8 if edge.kind in ("city", "oldtown") else 1.5
        return path.beside(at, outer_offset(edge) - out), path.heading(at)

    def _pole(self, point: NDArray[np.float64], height: float) -> None:
        self._cells.at(point).tube(point, (0.05, 0.05), (0.0, height), _STEEL, PixelClass.POLE, 4)

    def _shape(
        self, point: NDArray[np.float64], heading: float, outline: list[tuple[float, float]],
        colour: Colour, ahead: float,
    ) -> None:  # fmt: skip
        """A flat convex shape of (left, up) points that faces the traffic."""
        forward, left = axes(heading)
        at = point - ahead * forward
        rim = [(*(at + u * left), v) for u, v in outline]
        mesh = self._cells.at(point)
        for i in range(1, len(rim) - 1, 2):
            corners = [rim[0], rim[i], rim[i + 1], rim[min(i + 2, len(rim) - 1)]]
            mesh.quad(corners, colour, PixelClass.SIGN, flat=True)

    def _plate(
        self, point: NDArray[np.float64], heading: float, outline: list[tuple[float, float]],
        colours: tuple[Colour, Colour], border: float,
    ) -> None:  # fmt: skip
        """A shape with a border, grey from behind."""
        u, v = (sum(p[k] for p in outline) / len(outline) for k in (0, 1))
        inner = [(u + border * (a - u), v + border * (b - v)) for a, b in outline]
        self._shape(point, heading, outline, _BACK, -0.02)
        self._shape(point, heading, outline, colours[0], 0.06)
        self._shape(point, heading, inner, colours[1], 0.09)

    def give_way(self, edge: Edge) -> None:
        point, heading = self._spot(edge, 0.5)
        self._pole(point, 2.9)
        outline = [(-0.5, 2.9), (0.5, 2.9), (0.0, 2.03)]
        self._plate(point, heading, outline, (_RED, _WHITE), 0.6)

    def priority(self, edge: Edge) -> None:
        point, heading = self._spot(edge, 10.0)
        if self._free.distance(point) < 0.3:
            return
        self._pole(point, 2.9)
        outline = [(0.0, 2.95), (-0.42, 2.53), (0.0, 2.11), (0.42, 2.53)]
        self._plate(point, heading, outline, (_WHITE, _YELLOW), 0.72)

    def limit(self, edge: Edge, limit_mps: float) -> None:
        point, heading = self._spot(edge, -min(16.0, edge.length_m / 2))
        if self._free.distance(point) < 0.3:
            return
        self._pole(point, 2.9)
        turns = np.arange(12) * np.pi / 6
        outline = [(0.45 * float(np.cos(t)), 2.5 + 0.45 * float(np.sin(t))) for t in turns]
        self._plate(point, heading, outline, (_RED, _WHITE), 0.78)
        self._number(point, heading, str(round(limit_mps * 3.6)))

    def _number(self, point: NDArray[np.float64], heading: float, text: str) -> None:
        wide, high, thick = 0.16, 0.3, 0.05
        left = 0.5 * len(text) * (wide + 0.05) - 0.025
        for digit in text:
            right, top, bottom = left - wide, 2.5 + high / 2, 2.5 - high / 2
            bars = (
                (left, right, top - thick, top), (left, left - thick, 2.5, top),
                (right + thick, right, 2.5, top), (left, right, 2.5 - thick / 2, 2.5 + thick / 2),
                (left, left - thick, bottom, 2.5), (right + thick, right, bottom, 2.5),
                (left, right, bottom, bottom + thick),
            )  # fmt: skip
            for bar, lit in zip(bars, _SEGMENTS[digit], strict=True):
                if lit == "1":
                    a, b, foot, head = bar
                    outline = [(a, foot), (b, foot), (b, head), (a, head)]
                    self._shape(point, heading, outline, _BLACK, 0.12)
            left -= wide + 0.05

    def chevron(self, point: NDArray[np.float64], heading: float, side: str, half: float) -> None:
        """A board with an arrow head that points to a side."""
        low, high = 0.7, 0.7 + 2 * half
        self._pole(point + half * axes(heading)[1], 0.8)
        self._pole(point - half * axes(heading)[1], 0.8)
        outline = [(half, low), (-half, low), (-half, high), (half, high)]
        self._shape(point, heading, outline, _BACK, -0.02)
        self._shape(point, heading, outline, _RED, 0.06)
        sign = 1.0 if side == "left" else -1.0
        middle, tip, tail = (low + high) / 2, 0.55 * half, -0.35 * half
        for end in (low + 0.06, high - 0.06):
            arm = [
                (sign * tip, middle), (sign * (tip - 0.7 * half), middle),
                (sign * (tail - 0.6 * half), end), (sign * (tail + 0.1 * half), end),
            ]  # fmt: skip
            self._shape(point, heading, arm, _WHITE, 0.09)

    def curve(self, road: RoadNetwork, start_m: float, end_m: float, side: str) -> None:
        """Boards outside a sharp curve, each turned to those who come into it; both ways."""
        edge, _ = road.edge_at(start_m)
        width = edge.lane_width_m
        right = -(0.5 * width + edge.paved_m + 1.6)
        left = 1.5 * width + edge.paved_m + 1.6
        outside = right if side == "left" else left
        for at in np.arange(start_m + 2.0, end_m + 6.0, 8.0).tolist():
            point = road.path.beside(at, outside)
            if self._free.distance(point) > 0.5:
                self.chevron(point, road.path.heading(at - 14.0), side, 0.42)

    def island(self, road: RoadNetwork, center: NDArray[np.float64], radius: float) -> None:
        """Boards on a roundabout's island, before everyone who enters."""
        for edge in road.edges:
            end = edge.lanes[0][-1]
            if edge.role == "ring" or np.linalg.norm(end - center) > radius + 12.0:
                continue
            heading = float(np.arctan2(*(center - end)[::-1]))
            forward, left = axes(heading)
            for across in (-1.1, 0.0, 1.1):
                self.chevron(
                    center - (radius - 2.0) * forward + across * left, heading, "right", 0.5
                )

    def exit(self, beside: Edge, ramp: Edge) -> None:
        """A blue panel where the exit lane begins, and one where the ramp parts."""
        line, _ = even(beside.lanes[0], 1.0)
        forward, left = axes(float(np.arctan2(*(line[9] - line[0])[::-1])))
        point = line[2] + (outer_offset(beside) - 4.0) * left
        heading = float(np.arctan2(forward[1], forward[0]))
        for k in (-1.2, 1.2):
            self._pole(point + k * left, 3.0)
        outline = [(1.9, 2.4), (-1.9, 2.4), (-1.9, 4.8), (1.9, 4.8)]
        self._plate(point, heading, outline, (_WHITE, _BLUE), 0.94)
        for low in (2.9, 3.4, 4.1):
            mesh = self._cells.at(point)
            bar = face(heading, point, (1.4, 0.2 + low % 1), (low, low + 0.16), 0.12)
            mesh.quad(bar, _WHITE, PixelClass.SIGN, flat=True)
