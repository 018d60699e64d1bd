"""Traffic on a street with lights, moved by SUMO; the ego car is driven by SUMO's own driver.

`simulate` is a pure function of its seed: speed limit, light programs, traffic, the lead car's
manners, colours and parked cars all follow from it. libsumo holds one simulation a process.
"""

from __future__ import annotations

import os
from dataclasses import replace

import libsumo
import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.motion import FRONT_FROM_REAR_AXLE_M, smooth_motion
from rsd_planner.simulation.network import NETWORKS, RoadNetwork, load_network, network_path
from rsd_planner.simulation.scene import (
    Drive,
    EgoTrack,
    LeadCar,
    LightAhead,
    LightState,
    Snapshot,
    Vehicle,
    Weather,
)
from rsd_planner.simulation.traffic import (
    EGO_MIN_GAP_M,
    KINDS,
    LeadDriver,
    add_traffic,
    parked_cars,
    set_lights,
    vehicle_colour,
)

__all__ = ["SNAPSHOT_STEP_S", "simulate"]

SNAPSHOT_STEP_S = 0.1
_STEP_S = 0.05
_SETTLE_S = 1.7  # and 0.3 s until the smooth motion begins
_SIGHT_M = 170.0
_LIMITS_KMH = (30, 40, 50, 50, 60)


def simulate(seed: int, duration_s: float, network: str | None = None) -> Drive:
    """Drives for `duration_s` seconds; the network follows from the seed unless it is named."""
    rng = np.random.default_rng([seed, 1])
    drawn = NETWORKS[int(rng.integers(len(NETWORKS)))]  # drawn also where it is not used
    name = network or drawn
    road = load_network(name)
    limit = float(rng.choice(_LIMITS_KMH)) / 3.6
    weather = Weather.OVERCAST if rng.random() < 0.5 else Weather.CLEAR
    command = ["sumo", "-n", str(network_path(name)), "--step-length", str(_STEP_S)]
    command += ["--lanechange.duration", "3", "--time-to-teleport", "-1", "--no-warnings", "true"]
    command += ["--no-step-log", "true", "--seed", str(seed), "--collision.action", "none"]
    command += ["--collision.check-junctions", "false", "--default.action-step-length", "0.1"]
    os.environ.setdefault("SUMO_HOME", os.fspath(network_path(name).parent))
    libsumo.start(command)
    try:
        return _run(road, rng, seed, duration_s, limit, weather)
    finally:
        libsumo.close()


def _run(
    road: RoadNetwork,
    rng: np.random.Generator,
    seed: int,
    duration_s: float,
    limit_mps: float,
    weather: Weather,
) -> Drive:
    set_lights(road, rng)
    inflow = add_traffic(road, rng, limit_mps, duration_s)
    driver = LeadDriver(rng, limit_mps)
    recorder = _Recorder(road, seed)
    steps = round((_SETTLE_S + duration_s) / _STEP_S)
    every = round(SNAPSHOT_STEP_S / _STEP_S)
    settle = round(_SETTLE_S / _STEP_S)
    for step in range(steps + 1):
        inflow(step * _STEP_S)
        driver.act(step * _STEP_S)
        libsumo.simulationStep()
        if step >= settle:
            recorder.step((step - settle) * _STEP_S, (step - settle) % every == 0)
    fronts = np.array(recorder.fronts)
    track = smooth_motion(np.array(recorder.times), fronts, recorder.headings[0])
    every_front = fronts[::every]
    snapshots = [
        _with_ego(snapshot, track, every_front[i])
        for i, snapshot in enumerate(recorder.snapshots)
        if snapshot.time_s >= track.time_s[0] - 1e-9
    ]
    parked = parked_cars(road, seed)
    return Drive(seed, road.name, limit_mps, weather, tuple(snapshots), track, parked)


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
    )


class _Recorder:
    """Reads SUMO after each step."""

    def __init__(self, road: RoadNetwork, seed: int) -> None:
        self._signals = road.signals
        self._by_approach = {(s.light_id, s.edge_id): i for i, s in enumerate(road.signals)}
        self._by_light: dict[str, list[int]] = {}
        for index, signal in enumerate(road.signals):
            self._by_light.setdefault(signal.light_id, []).append(index)
        self._seed = seed
        self._lamp_until: dict[str, float] = {}
        self._smooth_mps: dict[str, float] = {}
        self._passing: int | None = None
        self.times: list[float] = []
        self.fronts: list[tuple[float, float]] = []
        self.headings: list[float] = []
        self.snapshots: list[Snapshot] = []

    def step(self, time_s: float, snapshot: bool) -> None:
        self.times.append(time_s)
        self.fronts.append(libsumo.vehicle.getPosition("ego"))
        self.headings.append(_yaw(libsumo.vehicle.getAngle("ego")))
        if snapshot:
            self.snapshots.append(self._snapshot(time_s))

    def _snapshot(self, time_s: float) -> Snapshot:
        x, y = self.fronts[-1]
        vehicles = []
        for vehicle_id in libsumo.vehicle.getIDList():
            if vehicle_id == "ego":
                continue
            front = libsumo.vehicle.getPosition(vehicle_id)
            if abs(front[0] - x) < _SIGHT_M and abs(front[1] - y) < _SIGHT_M:
                vehicles.append(self._vehicle(vehicle_id, front, time_s))
        lights = [LightState.RED] * len(self._signals)
        for light_id, indices in self._by_light.items():
            state = libsumo.trafficlight.getRedYellowGreenState(light_id)
            for index in indices:
                lights[index] = _light(state[self._signals[index].link_index])
        by_id = {v.vehicle_id: v for v in vehicles}
        return Snapshot(
            time_s=round(time_s, 3),
            ego_x_m=x,
            ego_y_m=y,
            ego_yaw_rad=self.headings[-1],
            ego_speed_mps=libsumo.vehicle.getSpeed("ego"),
            ego_acceleration_mps2=0.0,
            vehicles=tuple(vehicles),
            lights=tuple(lights),
            lead=self._lead(by_id),
            light_ahead=self._light_ahead(lights),
        )

    def _vehicle(self, vehicle_id: str, front: tuple[float, float], time_s: float) -> Vehicle:
        kind = libsumo.vehicle.getTypeID(vehicle_id)
        length, width, height = KINDS[kind]
        yaw = _yaw(libsumo.vehicle.getAngle(vehicle_id))
        speed = libsumo.vehicle.getSpeed(vehicle_id)
        # Over a little time: single steps are noisy near the desired speed.
        before = self._smooth_mps.get(vehicle_id, speed)
        smooth = before + 0.35 * (speed - before)
        self._smooth_mps[vehicle_id] = smooth
        acceleration = 0.35 * (speed - before) / SNAPSHOT_STEP_S
        # A foot on the brake: it decelerates more than the engine would, or it stands.
        if acceleration < -0.7 or speed < 0.2:
            self._lamp_until[vehicle_id] = time_s + 0.35
        return Vehicle(
            vehicle_id=vehicle_id,
            kind=kind,
            x_m=front[0] - 0.5 * length * np.cos(yaw),
            y_m=front[1] - 0.5 * length * np.sin(yaw),
            yaw_rad=yaw,
            length_m=length,
            width_m=width,
            height_m=height,
            speed_mps=speed,
            acceleration_mps2=acceleration,
            brake_lamp=time_s < self._lamp_until.get(vehicle_id, -1.0),
            colour_rgb=vehicle_colour(vehicle_id, self._seed),
        )

    def _lead(self, by_id: dict[str, Vehicle]) -> LeadCar | None:
        found = libsumo.vehicle.getLeader("ego", 120.0)
        if not found or found[0] not in by_id:
            return None
        lead = by_id[found[0]]
        gap = max(0.1, float(found[1]) + EGO_MIN_GAP_M)
        return LeadCar(
            lead.vehicle_id, gap, lead.speed_mps, lead.acceleration_mps2, lead.brake_lamp
        )

    def _light_ahead(self, lights: list[LightState]) -> LightAhead | None:
        upcoming = libsumo.vehicle.getNextTLS("ego")
        road = libsumo.vehicle.getRoadID("ego")
        if road.startswith(":"):
            # On the junction the heads beyond it are still seen; only a green one matters.
            passing = self._passing
            if passing is None or lights[passing] is not LightState.GREEN:
                return None
            return LightAhead(passing, 0.0, LightState.GREEN)
        if not upcoming:
            return None
        light_id, _, distance, _ = upcoming[0]
        index = self._by_approach.get((light_id, road))
        self._passing = index
        if index is None:
            return None
        return LightAhead(index, float(distance), lights[index])


def _yaw(compass_deg: float) -> float:
    """SUMO's angle (degrees clockwise from north) as radians counter-clockwise from x."""
    return float(np.deg2rad(90.0 - compass_deg))


def _light(state: str) -> LightState:
    if state in "Gg":
        return LightState.GREEN
    return LightState.AMBER if state in "yY" else LightState.RED
