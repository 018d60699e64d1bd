"""A drive: traffic that SUMO moves, scripted events, and the ego driven by the expert.

`simulate` is a pure function of its seed: network, limits, weather, camera mount, traffic, events
and everybody's manners all follow from it. libsumo holds one simulation a process.
"""

from __future__ import annotations

import os
from dataclasses import replace

import libsumo
import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.events.expert import Expert
from rsd_planner.simulation.events.schedule import draw_events
from rsd_planner.simulation.events.stage import STEP_S, Stage, Wish
from rsd_planner.simulation.events.way import Way
from rsd_planner.simulation.motion import FRONT_FROM_REAR_AXLE_M, smooth_motion
from rsd_planner.simulation.network import (
    HELD_OUT,
    NETWORKS_BY_KIND,
    RoadNetwork,
    load_network,
    network_path,
)
from rsd_planner.simulation.recorder import Recorder
from rsd_planner.simulation.scene import CameraMount, Drive, EgoTrack, Hazard, Snapshot, Weather
from rsd_planner.simulation.traffic import (
    Start,
    add_traffic,
    define_kinds,
    define_routes,
    draw_limits,
    enter_ego,
    parked_cars,
    set_lights,
    set_limits,
)

__all__ = ["FIRST_HELD_OUT_SEED", "SNAPSHOT_STEP_S", "simulate"]

SNAPSHOT_STEP_S = 0.1
FIRST_HELD_OUT_SEED = 100_000  # from there on only the networks that are held out are driven
_SETTLE_S = 1.7  # and 0.3 s until the smooth motion begins
_KIND_SHARES = {"city": 0.36, "oldtown": 0.22, "rural": 0.2, "motorway": 0.22}
_HARBOUR_SHARE = 0.58  # of the drives that are held out: it has the people and the lights
_WEATHERS = (Weather.CLEAR, Weather.OVERCAST, Weather.DUSK, Weather.FOG, Weather.RAIN)
_WEATHER_SHARES = (0.3, 0.25, 0.15, 0.15, 0.15)


def simulate(seed: int, duration_s: float, network: str | None = None) -> Drive:
    """Drives for `duration_s` seconds; the network follows from the seed unless it is named."""
    rng = np.random.default_rng([seed, 1])
    drawn = _draw_network(seed, rng)  # drawn also where it is not used
    name = network or drawn
    road = load_network(name)
    command = ["sumo", "-n", str(network_path(name)), "--step-length", str(STEP_S)]
    command += ["--time-to-teleport", "-1", "--no-warnings", "true"]
    command += ["--no-step-log", "true", "--seed", str(seed), "--collision.action", "none"]
    command += ["--collision.check-junctions", "false", "--default.action-step-length", "0.1"]
    os.environ.setdefault("SUMO_HOME", os.fspath(network_path(name).parent))
    libsumo.start(command)
    try:
        return _Run(road, rng, seed, duration_s).drive()
    finally:
        libsumo.close()


def _draw_network(seed: int, rng: np.random.Generator) -> str:
    """First the kind of road, then a network of that kind."""
    kind = str(rng.choice(list(_KIND_SHARES), p=list(_KIND_SHARES.values())))
    share = float(rng.uniform())
    if seed >= FIRST_HELD_OUT_SEED:
        return HELD_OUT[0] if share < _HARBOUR_SHARE else HELD_OUT[1]
    names = NETWORKS_BY_KIND[kind]
    return names[int(share * len(names))]


class _Run:
    """One simulation from its first to its last step."""

    def __init__(
        self, road: RoadNetwork, rng: np.random.Generator, seed: int, duration_s: float
    ) -> None:
        self._road, self._seed, self._duration_s = road, seed, duration_s
        self._limits = draw_limits(rng)
        self._weather = _WEATHERS[int(rng.choice(len(_WEATHERS), p=_WEATHER_SHARES))]
        self._mount = CameraMount(
            float(rng.uniform(1.3, 1.7)), float(rng.uniform(1.0, 3.5)), float(rng.uniform(0.8, 1.2))
        )
        set_limits(road, self._limits)
        set_lights(road, rng)
        define_kinds(rng)
        define_routes(road)
        way = Way(road)
        start = self._start(rng, way)
        self._limit_mps = self._limits[road.edge(start.edge_id).kind]
        self._stage = Stage(way, seed, self._limits)
        # A generator of their own: what else is drawn changes no events.
        events = np.random.default_rng([seed, 3])
        self._events = draw_events(way, events, self._limits, start, duration_s)
        enter_ego(start)
        for event in self._events:  # so early that traffic leaves room for what they place
            event.begin(self._stage)
        self._inflow = add_traffic(road, rng, self._limits, start, self._stage.closed, duration_s)
        self._expert = Expert()

    def _start(self, rng: np.random.Generator, way: Way) -> Start:
        """Anywhere from which the road is long enough."""
        road = self._road
        last = max(20.0, self._last_start(way))
        share = float(rng.uniform())
        tries = np.arange(15.0 + share * (last - 15.0), last, 5.0)
        s = float(next((s for s in tries if _fits(way, float(s))), 20.0))
        stretch = way.stretch_near(s)
        edge = stretch.edge
        # On a motorway mostly on the right, where others merge.
        wanted = 0 if rng.random() < 0.6 else int(rng.integers(len(stretch.lanes)))
        lane = stretch.lanes[wanted] if edge.kind == "motorway" else int(rng.choice(stretch.lanes))
        speed = float(rng.uniform(0.6, 0.85)) * self._limits[edge.kind]
        curves = [c for c in road.curves if c.start_m - 60.0 < s < c.end_m]
        speed = min([speed, *(c.speed_mps for c in curves)])
        gap = 5.0 + float(rng.uniform(1.2, 3.0)) * speed
        has_lead = rng.random() < 0.6 and stretch.end_m - s > gap + 15.0
        position = (s - stretch.start_m) / (stretch.end_m - stretch.start_m) * edge.length_m
        return Start(edge.edge_id, lane, position, s, speed, gap if has_lead else None)

    def _last_start(self, way: Way) -> float:
        """From where the rest of the road lasts for the drive at full speed."""
        left_s = self._duration_s + 3.0
        for stretch in reversed(way.stretches):
            speed = self._limits[stretch.edge.kind]
            needed_s = (stretch.end_m - stretch.start_m) / speed
            if needed_s > left_s:
                return stretch.end_m - left_s * speed
            left_s -= needed_s
        return 0.0

    def drive(self) -> Drive:
        """Runs all steps."""
        recorder = Recorder(self._road, self._stage)
        steps = round((_SETTLE_S + self._duration_s) / STEP_S)
        every = round(SNAPSHOT_STEP_S / STEP_S)
        settle = round(_SETTLE_S / STEP_S)
        for step in range(steps + 1):
            self._inflow(step * STEP_S)
            self._expert.drive()
            libsumo.simulationStep()
            self._stage.observe()
            time_s = (step - settle) * STEP_S
            if (step - settle) % every == 0:
                self._act(time_s)
            if step >= settle:
                recorder.step(time_s, (step - settle) % every == 0)
        return self._drive(recorder, every)

    def _act(self, time_s: float) -> None:
        stage = self._stage
        stage.refresh(time_s)
        for event in self._events:
            event.step(stage)
        stage.wishes.append(Wish(stage.way.length_m - 12.0 - stage.ego_s))  # the road ends
        stage.mind_slides()
        stage.hold_others()
        self._expert.act(stage)

    def _drive(self, recorder: Recorder, every: int) -> Drive:
        fronts = np.array(recorder.fronts)
        times, odometer = np.array(recorder.times), np.array(recorder.odometer)
        track = smooth_motion(times, fronts, recorder.headings[0], odometer)
        every_front = fronts[::every]
        snapshots = [
            _with_ego(snapshot, track, every_front[i])
            for i, snapshot in enumerate(recorder.snapshots)
            if snapshot.time_s >= track.time_s[0] - 1e-9
        ]
        stage = self._stage
        parked = parked_cars(self._road, self._seed, stage.in_the_way)
        return Drive(
            self._seed,
            self._road.name,
            self._limit_mps,
            self._weather,
            tuple(snapshots),
            track,
            (*parked, *stage.parked.values()),
            tuple(stage.obstacles.values()),
            self._mount,
            tuple(sorted(stage.crosswalks_m)),
        )


def _fits(way: Way, s_m: float) -> bool:
    stretch = way.stretch_at(s_m)
    return stretch is not None and stretch.edge.role == "forward" and way.inside(s_m, 8.0, 40.0)


def _with_ego(snapshot: Snapshot, track: EgoTrack, sumo_front: NDArray[np.float64]) -> Snapshot:
    """The snapshot with the smooth ego in it; distances ahead grow by how far it is behind."""
    now = np.array([snapshot.time_s])
    ego = track.at(now)
    yaw = float(ego.yaw_rad[0])
    forward = np.array([np.cos(yaw), np.sin(yaw)])
    front = ego.position_m[0] + FRONT_FROM_REAR_AXLE_M * forward
    behind = float((sumo_front - front) @ forward)
    lead, light = snapshot.lead, snapshot.light_ahead
    light_distance = 0.0  # stays zero on the junction
    if light is not None and light.distance_m > 0.0:
        light_distance = max(0.0, light.distance_m + behind)
    return replace(
        snapshot,
        ego_x_m=float(ego.position_m[0, 0]),
        ego_y_m=float(ego.position_m[0, 1]),
        ego_yaw_rad=yaw,
        ego_speed_mps=float(ego.speed_mps[0]),
        ego_acceleration_mps2=float(np.interp(now, track.time_s, track.acceleration_mps2)[0]),
        lead=lead and replace(lead, gap_m=max(0.1, lead.gap_m + behind)),
        light_ahead=light and replace(light, distance_m=light_distance),
        hazards=tuple(_moved(hazard, behind) for hazard in snapshot.hazards),
    )


def _moved(hazard: Hazard, behind_m: float) -> Hazard:
    if hazard.distance_m <= 0.0:
        return hazard  # the ego is in it
    return replace(hazard, distance_m=max(0.1, hazard.distance_m + behind_m))
