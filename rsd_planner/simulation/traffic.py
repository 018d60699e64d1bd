"""Who drives where: light programs, the ego and its lead, other traffic, parked cars.

Everything is drawn from a generator that is passed in. Calls libsumo, so a simulation must be
running (except for `parked_cars` and `vehicle_colour`).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import libsumo
import numpy as np

from rsd_planner.simulation.network import RoadNetwork, shift_left
from rsd_planner.simulation.scene import Vehicle

__all__ = [
    "EGO_MIN_GAP_M",
    "KINDS",
    "PARKING_WIDTH_M",
    "LeadDriver",
    "add_traffic",
    "parked_cars",
    "set_lights",
    "vehicle_colour",
]

KINDS = {  # length, width, height in metres
    "car": (4.4, 1.8, 1.45),
    "van": (5.4, 2.0, 2.2),
    "truck": (8.5, 2.4, 3.1),
}
_KIND_SHARES = (0.78, 0.15, 0.07)
EGO_MIN_GAP_M = 2.5
PARKING_WIDTH_M = 2.3  # a strip to the right of the driving lanes of the main street
_COLOURS = (
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


def vehicle_colour(vehicle_id: str, seed: int) -> tuple[int, int, int]:
    """A colour that stays with a vehicle."""
    return _COLOURS[zlib.crc32(f"{seed}/{vehicle_id}".encode()) % len(_COLOURS)]


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


def add_traffic(
    road: RoadNetwork, rng: np.random.Generator, limit_mps: float, duration_s: float
) -> Callable[[float], None]:
    """Places ego, lead and others; returns a function that lets more traffic in over time."""
    _define_kinds(rng)
    for edge in road.edges:
        if edge.is_main:
            libsumo.edge.setMaxSpeed(edge.edge_id, limit_mps)
    for lane_id in libsumo.lane.getIDList():
        # Straight on over a crossing, too; turns keep their own, lower limits.
        if lane_id.startswith(":") and libsumo.lane.getMaxSpeed(lane_id) > 13.0:
            libsumo.lane.setMaxSpeed(lane_id, limit_mps)
    last = road.blocks - 1
    forward = [f"f{i}" for i in range(road.blocks)]
    backward = [f"b{i}" for i in range(last, -1, -1)]
    routes = {edge: forward[i:] for i, edge in enumerate(forward)}
    routes |= {edge: backward[i:] for i, edge in enumerate(backward)}
    for i in range(1, road.blocks):
        routes[f"c{i}l_n{i}"] = [f"c{i}l_n{i}", f"n{i}_c{i}r"]
        routes[f"c{i}r_n{i}"] = [f"c{i}r_n{i}", f"n{i}_c{i}l"]
    for name, edges in routes.items():
        libsumo.route.add(name, edges)

    lanes = len(road.edge("f0").lanes)
    lane = int(rng.integers(lanes))
    start_edge = "f0"
    length = libsumo.lane.getLength(f"{start_edge}_0")
    position = float(rng.uniform(15.0, length - 110.0))
    speed = float(rng.uniform(0.6, 0.85)) * limit_mps
    gap = float(rng.uniform(14.0, 38.0))
    has_lead = rng.random() < 0.85
    _add("ego", start_edge, "ego", lane, position, speed)
    libsumo.vehicle.setLaneChangeMode("ego", 0)
    if has_lead:
        kind = str(rng.choice(list(KINDS), p=_KIND_SHARES))
        lead_position = position + gap + KINDS[kind][0]
        _add("lead", start_edge, kind, lane, lead_position, 0.9 * speed)
        libsumo.vehicle.setLaneChangeMode("lead", 0)
        libsumo.vehicle.setSpeedFactor("lead", float(rng.uniform(0.8, 1.0)))
    clear = (position - 25.0, position + (gap + 25.0 if has_lead else 70.0))
    _fill(road, rng, limit_mps, (start_edge, lane, clear))
    return _inflow(road, rng, limit_mps, duration_s)


def _define_kinds(rng: np.random.Generator) -> None:
    for name, (length, width, height) in KINDS.items():
        libsumo.vehicletype.copy("DEFAULT_VEHTYPE", name)
        libsumo.vehicletype.setLength(name, length)
        libsumo.vehicletype.setWidth(name, width)
        libsumo.vehicletype.setHeight(name, height)
        libsumo.vehicletype.setParameter(name, "carFollowModel", "IDM")
        libsumo.vehicletype.setSpeedDeviation(name, 0.0)
        libsumo.vehicletype.setSpeedFactor(name, float(rng.uniform(0.88, 1.0)))
    libsumo.vehicletype.copy("car", "ego")
    libsumo.vehicletype.setLength("ego", 4.6)
    libsumo.vehicletype.setMinGap("ego", EGO_MIN_GAP_M)
    libsumo.vehicletype.setTau("ego", float(rng.uniform(1.0, 1.7)))
    libsumo.vehicletype.setAccel("ego", float(rng.uniform(1.6, 2.2)))
    libsumo.vehicletype.setDecel("ego", float(rng.uniform(2.2, 3.0)))
    libsumo.vehicletype.setSpeedDeviation("ego", 0.0)
    libsumo.vehicletype.setSpeedFactor("ego", float(rng.uniform(0.92, 1.0)))


def _add(name: str, route: str, kind: str, lane: int, position_m: float, speed: float) -> None:
    libsumo.vehicle.add(
        name,
        route,
        typeID=kind,
        depart="now",
        departLane=str(lane),
        departPos=f"{position_m:.2f}",
        departSpeed=f"{speed:.2f}",
    )


def _kind(rng: np.random.Generator) -> str:
    return str(rng.choice(list(KINDS), p=_KIND_SHARES))


def _fill(
    road: RoadNetwork,
    rng: np.random.Generator,
    limit_mps: float,
    clear: tuple[str, int, tuple[float, float]],
) -> None:
    """Spreads vehicles over the main street before the first step."""
    spacing = float(rng.uniform(35.0, 110.0))
    count = 0
    for edge in road.edges:
        if not edge.is_main:
            continue
        for lane in range(len(edge.lanes)):
            length = libsumo.lane.getLength(f"{edge.edge_id}_{lane}")
            position = float(rng.uniform(10.0, spacing))
            while position < length - 5.0:
                low, high = clear[2] if (edge.edge_id, lane) == clear[:2] else (0.0, 0.0)
                if not low < position < high:
                    speed = float(rng.uniform(0.5, 0.85)) * limit_mps
                    _add(f"v{count}", edge.edge_id, _kind(rng), lane, position, speed)
                    count += 1
                position += float(rng.uniform(0.5, 1.5)) * spacing


def _inflow(
    road: RoadNetwork, rng: np.random.Generator, limit_mps: float, duration_s: float
) -> Callable[[float], None]:
    """Vehicles that enter later at the ends of the street and from the side streets."""
    entries = [(f"b{road.blocks - 1}", lane) for lane in range(len(road.edges[0].lanes))]
    entries += [("f0", lane) for lane in range(len(road.edge("f0").lanes))]
    sides = [edge.edge_id for edge in road.edges if edge.edge_id[0] == "c"]
    entries += [(edge_id, 0) for edge_id in sides]
    plan: list[tuple[float, str, int]] = []
    for edge_id, lane in entries:
        at = float(rng.uniform(0, 6))
        while at < duration_s:
            plan.append((at, edge_id, lane))
            at += float(rng.uniform(3.0, 12.0))
    plan.sort()
    pending = iter(enumerate(plan))
    upcoming = next(pending, None)

    def let_in(time_s: float) -> None:
        nonlocal upcoming
        while upcoming is not None and upcoming[1][0] <= time_s:
            number, (_, edge_id, lane) = upcoming
            _add(f"w{number}", edge_id, _kind(rng), lane, 6.0, min(9.0, 0.6 * limit_mps))
            upcoming = next(pending, None)

    return let_in


class LeadDriver:
    """Makes the lead car brake and go: gently, hard, to a stop, or dawdling for a while."""

    def __init__(self, rng: np.random.Generator, limit_mps: float) -> None:
        self._rng = rng
        self._limit_mps = limit_mps
        self._next_s = float(rng.uniform(4.0, 9.0))
        self._release_s = np.inf
        self._hold: tuple[float, float] | None = None  # when, speed

    def act(self, time_s: float) -> None:
        """Called before each step."""
        if "lead" not in libsumo.vehicle.getIDList():
            return
        if self._hold is not None and time_s >= self._hold[0]:
            libsumo.vehicle.setSpeed("lead", self._hold[1])
            self._hold = None
        if time_s >= self._release_s:
            libsumo.vehicle.setSpeed("lead", -1)
            self._release_s = np.inf
            self._next_s = time_s + float(self._rng.uniform(4.0, 9.0))
        if time_s >= self._next_s:
            self._begin(time_s)

    def _begin(self, time_s: float) -> None:
        speed = libsumo.vehicle.getSpeed("lead")
        if speed < 4.0:
            self._next_s = time_s + 2.0
            return
        kind = self._rng.choice(["gentle", "hard", "stop", "dawdle"], p=[0.3, 0.25, 0.25, 0.2])
        target, braking, hold_s = {
            "gentle": (speed * self._rng.uniform(0.4, 0.7), 1.4, self._rng.uniform(1, 3)),
            "hard": (speed * self._rng.uniform(0.15, 0.4), 3.8, self._rng.uniform(0.5, 2)),
            "stop": (0.0, 2.4, self._rng.uniform(2, 5)),
            "dawdle": (speed * 0.7, 0.9, self._rng.uniform(4, 7)),
        }[str(kind)]
        lasts = (speed - target) / braking
        libsumo.vehicle.slowDown("lead", target, lasts)
        self._hold = (time_s + lasts, target)
        self._release_s = time_s + lasts + float(hold_s)
        self._next_s = np.inf


def parked_cars(road: RoadNetwork, seed: int) -> tuple[Vehicle, ...]:
    """Cars along the kerbs of the main street, away from the crossings."""
    rng = np.random.default_rng([seed, 2])
    share = float(rng.uniform(0.15, 0.6))
    cars: list[Vehicle] = []
    for edge in road.edges:
        if not edge.is_main:
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
    return tuple(cars)
