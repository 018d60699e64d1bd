"""Turns the layout of a road into the files that netconvert reads.

Names: f{i} and b{i} are the main road forward and backward, n{i} the node before f{i},
c{i}l_n{i} and n{i}_c{i}l the cross road on the left of n{i} towards and away from it (r: right),
r{i}_{k} the ring of a roundabout counter-clockwise from where f{i-1} enters, on{i} and off{i} the
ramps at n{i}. A line of points is the left border of its edge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.networks.layouts import Block, Road

__all__ = ["PlainFiles", "plain_files"]

_KMH = {"city": 50, "oldtown": 40, "rural": 70, "motorway": 100}
_RING_RADIUS_M = 19.0  # of the island
_RING_LANE_M = 4.2
_RING_SPEED_MPS = 6.5
_ARM_ANGLE = math.radians(25)  # between an arm's axis and where it enters or leaves the ring
_RAMP_M, _RAMP_OUT_M = 150.0, 24.0
_MAIN_PRIORITY, _MINOR_PRIORITY, _MAJOR_PRIORITY, _RAMP_PRIORITY = 5, 2, 8, 3

Line = NDArray[np.float64]


@dataclass
class PlainFiles:
    """The lines of the four files."""

    nodes: list[str] = field(default_factory=list)
    edges: list[str] = field(default_factory=list)
    connections: list[str] = field(default_factory=list)

    def node(self, name: str, at: Line, kind: str, radius_m: float | None = None) -> None:
        radius = "" if radius_m is None else f' radius="{radius_m}"'
        self.nodes.append(
            f'<node id="{name}" x="{at[0]:.2f}" y="{at[1]:.2f}" type="{kind}"{radius}/>'
        )

    def edge(
        self, name: str, ends: tuple[str, str], line: Line, lanes: int, width_m: float,
        speed_mps: float, priority: int, kind: str,
    ) -> None:  # fmt: skip
        shape = " ".join(f"{x:.2f},{y:.2f}" for x, y in line)
        self.edges.append(
            f'<edge id="{name}" from="{ends[0]}" to="{ends[1]}" numLanes="{lanes}" '
            f'speed="{speed_mps:.2f}" priority="{priority}" width="{width_m}" type="{kind}" '
            f'shape="{shape}"/>'
        )

    def connect(self, start: str, end: str, lanes: list[tuple[int, int]]) -> None:
        self.connections += [
            f'<connection from="{start}" to="{end}" fromLane="{a}" toLane="{b}"/>' for a, b in lanes
        ]


def plain_files(road: Road) -> PlainFiles:
    """Everything of one road."""
    files = PlainFiles()
    at: Line = np.zeros(2)
    heading = 0.0
    lines, headings = [], [heading]
    for number, block in enumerate(road.blocks):
        if number and road.blocks[number - 1].ends == "ring":
            at = at + 2 * _arm_length() * _unit(heading)
        line, heading = _line(at, heading, block)
        at = line[-1]
        lines.append(line)
        headings.append(heading)
    for number, block in enumerate(road.blocks):
        _main_edges(files, road, number, lines)
        if number == 0:
            files.node("n0", lines[0][0], "dead_end")
        _junction(files, road, number + 1, block, lines[number][-1], headings[number + 1])
    return files


def _unit(angle: float) -> Line:
    return np.array([math.cos(angle), math.sin(angle)])


def _lanes(road: Road, number: int) -> int:
    return road.blocks[number].lanes or road.lanes


def _kind(road: Road, number: int) -> str:
    return road.blocks[number].kind or road.kind


def _line(at: Line, heading: float, block: Block) -> tuple[Line, float]:
    """Straights and bends; a bend grows over its first fifth and fades over its last."""
    points = [at]
    for length, turn_deg in block.pieces:
        turn = math.radians(turn_deg)
        if turn == 0.0:
            at = at + length * _unit(heading)
            points.append(at)
            continue
        step = 2.0 if length / abs(turn) < 120.0 else 8.0
        steps = round(length / step)
        for i in range(steps):
            u = (i + 0.5) / steps
            heading += turn / steps * min(1.0, u / 0.2, (1 - u) / 0.2) / 0.8
            at = at + length / steps * _unit(heading)
            points.append(at)
    return np.stack(points), heading


def _main_edges(files: PlainFiles, road: Road, number: int, lines: list[Line]) -> None:
    block, kind = road.blocks[number], _kind(road, number)
    lanes, line = _lanes(road, number), lines[number]
    names = [f"n{number}", f"n{number + 1}"]
    forward, backward = line, line[::-1]
    if number and road.blocks[number - 1].ends == "ring":
        out, into = _arm(line[0] - _arm_length() * _unit(_heading(line[:2])), _heading(line[:2]))
        forward, backward = (
            np.concatenate([out, forward[1:]]),
            np.concatenate([backward[:-1], into]),
        )
        starts = (f"n{number}_3", f"n{number}_4")
    else:
        starts = (names[0], names[0])
    if block.ends == "ring":
        angle = _heading(line[-2:])
        out, into = _arm(line[-1] + _arm_length() * _unit(angle), angle + math.pi)
        forward, backward = (
            np.concatenate([forward[:-1], into]),
            np.concatenate([out, backward[1:]]),
        )
        ends = (f"n{number + 1}_0", f"n{number + 1}_7")
    else:
        ends = (names[1], names[1])
    speed, width = _KMH[kind] / 3.6, road.lane_width_m
    files.edge(
        f"f{number}", (starts[0], ends[0]), forward, lanes + block.extra_lane, width, speed,
        _MAIN_PRIORITY, kind,
    )  # fmt: skip
    if road.two_way:
        files.edge(
            f"b{number}", (ends[1], starts[1]), backward, lanes, width, speed, _MAIN_PRIORITY, kind
        )


def _heading(two_points: Line) -> float:
    difference = two_points[-1] - two_points[0]
    return math.atan2(difference[1], difference[0])


def _junction(
    files: PlainFiles, road: Road, number: int, block: Block, at: Line, heading: float
) -> None:
    name = f"n{number}"
    if number == len(road.blocks):
        files.node(name, at, "dead_end")
    elif block.ends == "ring":
        _ring(files, road, number, at, heading)
    elif block.ends in ("lights", "minor", "yield"):
        files.node(name, at, "traffic_light" if block.ends == "lights" else "priority")
        _cross_road(files, road, number, block, at, heading)
        if _lanes(road, number - 1) != _lanes(road, number):
            _widen(files, road, number)
    else:
        files.node(name, at, "priority", radius_m=1.0)
        if _lanes(road, number - 1) != _lanes(road, number):
            _widen(files, road, number)
        else:
            _lane_changes(files, road, number)
        if block.ends in ("on", "off"):
            _ramp(files, road, number, block.ends, at, heading)


def _cross_road(
    files: PlainFiles, road: Road, number: int, block: Block, at: Line, heading: float
) -> None:
    priority = {"lights": _MINOR_PRIORITY, "minor": _MINOR_PRIORITY, "yield": _MAJOR_PRIORITY}
    kind = _kind(road, number - 1)
    speed = {"city": 11.1, "oldtown": 8.4, "rural": 16.7, "motorway": 16.7}[kind]
    lanes = road.cross_lanes if block.ends == "lights" else 1
    for side in block.sides:
        angle = heading + (math.pi / 2 if side == "l" else -math.pi / 2)
        far = at + road.cross_m * _unit(angle)
        end = f"c{number}{side}"
        files.node(end, far, "dead_end")
        for name, ends, line in (
            (f"{end}_n{number}", (end, f"n{number}"), np.stack([far, at])),
            (f"n{number}_{end}", (f"n{number}", end), np.stack([at, far])),
        ):
            files.edge(
                name, ends, line, lanes, road.lane_width_m, speed, priority[block.ends], kind
            )


def _widen(files: PlainFiles, road: Road, number: int) -> None:
    """Over a junction with more lanes beyond it: straight on along the middle line."""
    before, after = _lanes(road, number - 1), _lanes(road, number)
    files.connect(f"f{number - 1}", f"f{number}", [(i, i + after - before) for i in range(before)])
    pairs = [(i, max(0, i + before - after)) for i in range(after)]
    files.connect(f"b{number}", f"b{number - 1}", pairs)


def _lane_changes(files: PlainFiles, road: Road, number: int) -> None:
    """Through lanes go on; the extra lane begins from a ramp or ends."""
    before, after = road.blocks[number - 1], road.blocks[number]
    lanes = range(_lanes(road, number))
    through = [(i + before.extra_lane, i + after.extra_lane) for i in lanes]
    if after.extra_lane and before.ends != "on":  # the lane that will leave opens on the right
        through.append((int(before.extra_lane), 0))
    files.connect(f"f{number - 1}", f"f{number}", through)
    if road.two_way:
        files.connect(f"b{number}", f"b{number - 1}", [(i, i) for i in lanes])


def _ramp(files: PlainFiles, road: Road, number: int, way: str, at: Line, heading: float) -> None:
    """Leans towards the extra lane, or away from it, over its whole length."""
    forward, left = _unit(heading), _unit(heading + math.pi / 2)
    right_m = _lanes(road, number) * road.lane_width_m
    share = np.linspace(0.0, 1.0, 26)
    away = _RAMP_OUT_M * share**2 * (1.5 - 0.5 * share)  # (points,) beyond the right lane
    sign = -1.0 if way == "on" else 1.0
    line = at + sign * _RAMP_M * share[:, None] * forward - (right_m + away)[:, None] * left
    files.node(f"{way}{number}_end", line[-1], "dead_end")
    if way == "on":
        files.edge(
            f"on{number}", (f"on{number}_end", f"n{number}"), line[::-1], 1, road.lane_width_m,
            19.4, _RAMP_PRIORITY, "motorway",
        )  # fmt: skip
        files.connect(f"on{number}", f"f{number}", [(0, 0)])
    else:
        files.edge(
            f"off{number}", (f"n{number}", f"off{number}_end"), line, 1, road.lane_width_m,
            16.7, _RAMP_PRIORITY, "motorway",
        )  # fmt: skip
        files.connect(f"f{number - 1}", f"off{number}", [(0, 0)])


def _arm_length() -> float:
    """From the middle of a roundabout to where its arms begin to part."""
    return _RING_RADIUS_M + 32.0


def _arm(center: Line, angle: float) -> tuple[Line, Line]:
    """The left borders of the way out and the way in of an arm that points along `angle`."""
    along, left = _unit(angle), _unit(angle + math.pi / 2)
    radius = _RING_RADIUS_M + 1.0
    start = np.array([radius * math.cos(_ARM_ANGLE), radius * math.sin(_ARM_ANGLE)])
    end = np.array([_arm_length(), 0.0])
    lean = math.radians(50)  # of the way in against the axis, where it meets the ring
    first = start + 12.0 * np.array([math.cos(lean), -math.sin(lean)])
    second = end - np.array([12.0, 0.0])
    t = np.linspace(0.0, 1.0, 10)[:, None]
    curve = (
        (1 - t) ** 3 * start + 3 * (1 - t) ** 2 * t * first + 3 * (1 - t) * t**2 * second
        + t**3 * end
    )  # fmt: skip
    # Towards the ring on the right-hand side, which lies left of the arm's own direction.
    into = center + curve[::-1, :1] * along + curve[::-1, 1:] * left
    out = center + curve[:, :1] * along - curve[:, 1:] * left
    return out, into


def _ring(files: PlainFiles, road: Road, number: int, at: Line, heading: float) -> None:
    """Eight nodes, so that every arm has one to enter and one to leave."""
    center = at + _arm_length() * _unit(heading)
    angles = []
    for quarter in range(4):  # west, south, east, north as seen along the ego's way
        axis = heading + math.pi + quarter * math.pi / 2
        angles += [axis + _ARM_ANGLE, axis + math.pi / 2 - _ARM_ANGLE]
    for k, angle in enumerate(angles):
        files.node(f"n{number}_{k}", center + _RING_RADIUS_M * _unit(angle), "priority", 1.5)
    ids = []
    for k, angle in enumerate(angles):
        turn = (angles[(k + 1) % 8] - angle) % (2 * math.pi)
        arc = np.stack([
            center + _RING_RADIUS_M * _unit(angle + share * turn)
            for share in np.linspace(0.0, 1.0, 7)
        ])  # fmt: skip
        ids.append(f"r{number}_{k}")
        files.edge(
            ids[-1], (f"n{number}_{k}", f"n{number}_{(k + 1) % 8}"), arc, 1, _RING_LANE_M,
            _RING_SPEED_MPS, _MAJOR_PRIORITY, road.kind,
        )  # fmt: skip
    nodes = " ".join(f"n{number}_{k}" for k in range(8))
    files.edges.append(f'<roundabout nodes="{nodes}" edges="{" ".join(ids)}"/>')
    for side, quarter in (("r", 1), ("l", 3)):
        angle = heading + math.pi + quarter * math.pi / 2
        far = center + (_arm_length() + road.cross_m * 0.6) * _unit(angle)
        files.node(f"c{number}{side}", far, "dead_end")
        out, into = _arm(center, angle)
        enters, leaves = f"n{number}_{2 * quarter}", f"n{number}_{2 * quarter - 1}"
        for name, ends, line in (
            (f"c{number}{side}_n{number}", (f"c{number}{side}", enters), np.vstack([far, into])),
            (f"n{number}_c{number}{side}", (leaves, f"c{number}{side}"), np.vstack([out, far])),
        ):
            files.edge(name, ends, line, 1, road.lane_width_m, 13.9, _MINOR_PRIORITY, road.kind)
