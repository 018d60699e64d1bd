"""Who drives where: kinds of vehicles, light programs, the ego and its lead, other traffic.

Everything is drawn from a generator that is passed in. Calls libsumo, so a simulation must be
running (except for `parked_cars`, `vehicle_colour` and `draw_limits`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import libsumo
import numpy as np

from rsd_planner.simulation.network import RoadNetwork, shift_left
from rsd_planner.simulation.scene import Vehicle

__all__ = [
    "COLOURS",
    "EGO_MIN_GAP_M",
    "KINDS",
    "NO_LANE_CHANGES",
    "PARKING_WIDTH_M",
    "Start",
    "add_traffic",
    "define_kinds",
    "define_routes",
    "draw_kind",
    "draw_limits",
    "enter",
    "enter_ego",
    "parked_cars",
    "set_lights",
    "set_limits",
    "vehicle_colour",
]

KINDS = {  # length, width, height in metres
    "car": (4.4, 1.8, 1.45),
    "van": (5.4, 2.0, 2.2),
    "truck": (8.5, 2.4, 3.1),
    "cyclist": (1.8, 0.6, 1.75),
}
_MOTOR_KINDS = ("car", "van", "truck")
_KIND_SHARES = (0.78, 0.15, 0.07)
_LIMITS_KMH = {
    "city": (30, 40, 50, 50, 60),
    "oldtown": (30, 30, 40),
    "rural": (50, 60, 70),
    "motorway": (80, 90, 100),
}
EGO_MIN_GAP_M = 2.5
PARKING_WIDTH_M = 2.3  # a strip to the right of the driving lanes where cars may be parked
NO_LANE_CHANGES = 768  # but those of a script, where the gap is large enough as it is
_EGO_SPEED_MODE = 0b11011  # SUMO's safe speed and rules, but the expert may brake as it likes
COLOURS = (
    (200, 204, 208),
    (235, 235, 230),
    (58, 62, 70),
    (30, 34, 40),
    (36, 66, 122),
    (92, 122, 160),
    (120, 40, 44),
    (66, 96, 70),
    (196, 164, 92),
    (140, 144, 148),
)


@dataclass(frozen=True)
class Start:
    """Where the ego and its lead begin."""

    edge_id: str
    lane: int  # counted from the right
    position_m: float  # of SUMO, on the edge
    s_m: float  # along the path
    speed_mps: float
    lead_gap_m: float | None  # no lead if none


def vehicle_colour(vehicle_id: str, seed: int) -> tuple[int, int, int]:
    """A colour that stays with a vehicle."""
    return COLOURS[zlib.crc32(f"{seed}/{vehicle_id}".encode()) % len(COLOURS)]


def draw_kind(rng: np.random.Generator) -> str:
    """A kind of motor vehicle."""
    return str(rng.choice(_MOTOR_KINDS, p=_KIND_SHARES))


def draw_limits(rng: np.random.Generator) -> dict[str, float]:
    """The speed limit of each kind of road, m/s."""
    return {kind: float(rng.choice(limits)) / 3.6 for kind, limits in _LIMITS_KMH.items()}


def set_limits(road: RoadNetwork, limits: dict[str, float]) -> None:
    """Gives the main road its limits, the lanes straight over junctions included."""
    for edge in road.main:
        libsumo.edge.setMaxSpeed(edge.edge_id, limits[edge.kind])
    for lane_id in libsumo.lane.getIDList():
        # Turns keep their own, lower limits.
        if lane_id.startswith(":") and libsumo.lane.getMaxSpeed(lane_id) > 13.0:
            exits = libsumo.lane.getLinks(lane_id)
            after = exits[0][0].rsplit("_", 1)[0] if exits else ""
            if after in road.route or after in road.backward:
                libsumo.lane.setMaxSpeed(lane_id, limits[road.edge(after).kind])


def set_lights(road: RoadNetwork, rng: np.random.Generator) -> None:
    """Draws every light's green times and where in its program it starts."""
    for light_id in sorted({signal.light_id for signal in road.signals}):
        main, cross = float(rng.integers(9, 17)), float(rng.integers(7, 13))
        logic = libsumo.trafficlight.getAllProgramLogics(light_id)[0]
        durations = (main, 3.0, 1.0, cross, 3.0, 1.0)
        for phase, duration in zip(logic.phases, durations, strict=True):
            phase.duration = phase.minDur = phase.maxDur = duration
        libsumo.trafficlight.setProgramLogic(light_id, logic)
        start = rng.uniform(0, sum(durations))
        index = 0
        while start > durations[index]:
            start -= durations[index]
            index += 1
        libsumo.trafficlight.setPhase(light_id, index)
        libsumo.trafficlight.setPhaseDuration(light_id, durations[index] - start)


def define_kinds(rng: np.random.Generator) -> None:
    """The vehicle types, with the manners of this drive."""
    for name, (length, width, height) in KINDS.items():
        libsumo.vehicletype.copy("DEFAULT_VEHTYPE", name)
        libsumo.vehicletype.setLength(name, length)
        libsumo.vehicletype.setWidth(name, width)
        libsumo.vehicletype.setHeight(name, height)
        libsumo.vehicletype.setParameter(name, "carFollowModel", "IDM")
        libsumo.vehicletype.setSpeedDeviation(name, 0.0)
        libsumo.vehicletype.setSpeedFactor(name, float(rng.uniform(0.88, 1.0)))
    libsumo.vehicletype.copy("car", "ghost")
    libsumo.vehicletype.setMaxSpeed("ghost", 0.01)
    libsumo.vehicletype.copy("car", "ego")
    libsumo.vehicletype.setLength("ego", 4.6)
    # At amber the expert decides whether it stops.
    libsumo.vehicletype.setParameter("ego", "jmDriveAfterYellowTime", "3.5")
    libsumo.vehicletype.setActionStepLength("ego", 0.05)
    libsumo.vehicletype.setMinGap("ego", EGO_MIN_GAP_M)
    libsumo.vehicletype.setTau("ego", float(rng.uniform(1.0, 1.7)))
    libsumo.vehicletype.setAccel("ego", float(rng.uniform(1.6, 2.2)))
    libsumo.vehicletype.setDecel("ego", float(rng.uniform(2.2, 3.0)))
    libsumo.vehicletype.setSpeedDeviation("ego", 0.0)
    libsumo.vehicletype.setSpeedFactor("ego", float(rng.uniform(0.92, 1.0)))


def define_routes(road: RoadNetwork) -> None:
    """One route for every edge on which a vehicle may begin, named like the edge."""
    for edge_id in (*road.route, *road.backward):
        libsumo.route.add(edge_id, list(road.onward(edge_id)))
    for edges in road.cross_routes:
        libsumo.route.add(edges[0], list(edges))
    for ramp in road.ramps:
        if ramp.entry:
            libsumo.route.add(ramp.edge_id, list(ramp.route))


def enter_ego(start: Start) -> None:
    """Places the ego. It must come before all others."""
    enter("ego", start.edge_id, "ego", start.lane, start.position_m, start.speed_mps)
    libsumo.vehicle.setLaneChangeMode("ego", NO_LANE_CHANGES)
    libsumo.vehicle.setSpeedMode("ego", _EGO_SPEED_MODE)


def add_traffic(
    road: RoadNetwork, rng: np.random.Generator, limits: dict[str, float], start: Start,
    closed: Sequence[tuple[float, int]], duration_s: float,
) -> Callable[[float], None]:  # fmt: skip
    """Places the lead and others; returns a function that lets more traffic in over time."""
    if start.lead_gap_m is not None:
        kind = draw_kind(rng)
        position = start.position_m + start.lead_gap_m + KINDS[kind][0]
        enter("lead", start.edge_id, kind, start.lane, position, 0.95 * start.speed_mps)
        libsumo.vehicle.setLaneChangeMode("lead", NO_LANE_CHANGES)
        libsumo.vehicle.setSpeedFactor("lead", float(rng.uniform(0.8, 1.0)))
    reach_m = start.s_m + max(limits.values()) * duration_s + 200.0
    _fill_forward(road, rng, limits, start, closed, reach_m)
    _fill_backward(road, rng, limits)
    return _inflow(road, rng, limits, duration_s)


def enter(name: str, route: str, kind: str, lane: int, position_m: float, speed_mps: float) -> None:
    """Lets a vehicle begin on the first edge of a route, no faster than may be driven there."""
    fastest = libsumo.lane.getMaxSpeed(f"{route}_{lane}") * libsumo.vehicletype.getSpeedFactor(kind)
    libsumo.vehicle.add(
        name,
        route,
        typeID=kind,
        depart="now",
        departLane=str(lane),
        departPos=f"{position_m:.2f}",
        departSpeed=f"{max(0.0, min(speed_mps, fastest - 0.1)):.2f}",
    )


def _fill_forward(
    road: RoadNetwork,
    rng: np.random.Generator,
    limits: dict[str, float],
    start: Start,
    closed: Sequence[tuple[float, int]],
    reach_m: float,
) -> None:
    """Vehicles in the other lanes, and in the ego's lane only behind it: events come there."""
    spacing = float(rng.uniform(40.0, 120.0))
    behind = 15.0 + 1.8 * start.speed_mps
    count = 0
    for edge in road.forward:
        low = road.starts_m[edge.edge_id]
        if not edge.is_main or not start.s_m - 250.0 < low < reach_m:
            continue
        for lane in range(edge.extra_lanes, len(edge.lanes)):
            # Lanes are counted from the path's, which goes all the way.
            from_path = lane - road.path_lanes[edge.edge_id]
            same = from_path == _lane_from_path(road, start)
            ends = [s for s, which in closed if which == from_path]
            position, margin = (
                float(rng.uniform(10.0, spacing)),
                _junction_margin(limits[edge.kind]),
            )
            while position < edge.length_m - margin:
                ahead = low + position - start.s_m
                queues = ahead > 0.0 and any(
                    low + position < s < low + position + 400.0 for s in ends
                )
                if not queues and not -behind < ahead < (
                    reach_m if same or len(edge.lanes) == 1 else 12.0
                ):
                    speed = float(rng.uniform(0.6, 0.85)) * limits[edge.kind]
                    enter(f"v{count}", edge.edge_id, draw_kind(rng), lane, position, speed)
                    libsumo.vehicle.setLaneChangeMode(f"v{count}", NO_LANE_CHANGES)
                    count += 1
                position += float(rng.uniform(0.5, 1.5)) * spacing


def _lane_from_path(road: RoadNetwork, start: Start) -> int:
    return start.lane - road.path_lanes[start.edge_id]


def _junction_margin(limit_mps: float) -> float:
    """SUMO lets nobody begin so near to a junction that it could not stop there."""
    return 12.0 + (0.85 * limit_mps) ** 2 / 5.0


def _fill_backward(road: RoadNetwork, rng: np.random.Generator, limits: dict[str, float]) -> None:
    spacing = float(rng.uniform(45.0, 130.0))
    count = 0
    for edge_id in road.backward:
        edge = road.edge(edge_id)
        if not edge.is_main:
            continue
        for lane in range(len(edge.lanes)):
            # One lane a way: leave gaps for those who must use the other side.
            mean = spacing * (2.4 if len(edge.lanes) == 1 else 1.0)
            position, margin = float(rng.uniform(10.0, mean)), _junction_margin(limits[edge.kind])
            while position < edge.length_m - margin:
                speed = float(rng.uniform(0.6, 0.85)) * limits[edge.kind]
                enter(f"o{count}", edge_id, draw_kind(rng), lane, position, speed)
                count += 1
                position += float(rng.uniform(0.5, 1.5)) * mean


def _inflow(
    road: RoadNetwork, rng: np.random.Generator, limits: dict[str, float], duration_s: float
) -> Callable[[float], None]:
    """Vehicles that enter later: oncoming ones, and those from the side where they must wait."""
    entries = []
    if road.backward:
        first = road.edge(road.backward[0])
        entries = [(first.edge_id, lane, limits[first.kind]) for lane in range(len(first.lanes))]
    scripted = {route[0] for place in road.give_ways for route in place.cross_routes}
    scripted |= {route[0] for route in road.cross_routes if len(route) > 2}
    entries += [(r[0], 0, 13.0) for r in road.cross_routes if r[0] not in scripted]
    plan: list[tuple[float, str, int, float]] = []
    for edge_id, lane, limit in entries:
        at = float(rng.uniform(0, 6))
        while at < duration_s:
            plan.append((at, edge_id, lane, min(9.0, 0.6 * limit)))
            at += float(rng.uniform(4.0, 14.0))
    plan.sort()
    pending = iter(enumerate(plan))
    upcoming = next(pending, None)

    def let_in(time_s: float) -> None:
        nonlocal upcoming
        while upcoming is not None and upcoming[1][0] <= time_s:
            number, (_, edge_id, lane, speed) = upcoming
            enter(f"w{number}", edge_id, draw_kind(rng), lane, 8.6, speed)
            upcoming = next(pending, None)

    return let_in


def parked_cars(
    road: RoadNetwork, seed: int, in_the_way: Callable[[Sequence[Vehicle]], Sequence[bool]]
) -> tuple[Vehicle, ...]:
    """Cars along the kerbs of the main street, away from crossings and where they may stand."""
    rng = np.random.default_rng([seed, 2])
    share = float(rng.uniform(0.15, 0.6))
    cars: list[Vehicle] = []
    for edge in road.main:
        if not edge.has_parking:
            continue
        line = shift_left(edge.lanes[0], -(edge.lane_width_m / 2 + PARKING_WIDTH_M / 2))
        steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        for at in np.arange(18.0, along[-1] - 28.0, 6.4):
            if rng.random() > share:
                continue
            spot = at + rng.uniform(-0.4, 0.4)
            x, y = (np.interp(spot, along, line[:, k]) for k in (0, 1))
            ahead = [np.interp(spot + 1.0, along, line[:, k]) for k in (0, 1)]
            kind = "van" if rng.random() < 0.15 else "car"
            length, width, height = KINDS[kind]
            name = f"p{len(cars)}"
            yaw = float(np.arctan2(ahead[1] - y, ahead[0] - x))
            colour = vehicle_colour(name, seed)
            cars.append(
                Vehicle(
                    name, kind, float(x), float(y), yaw, length, width, height, 0.0, 0.0,
                    brake_lamp=False, colour_rgb=colour, parked=True,
                )
            )  # fmt: skip
    return tuple(c for c, drop in zip(cars, in_the_way(cars), strict=True) if not drop)
