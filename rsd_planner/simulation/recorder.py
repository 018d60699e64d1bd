"""Reads SUMO and the stage after each step: what a snapshot of the drive holds."""

from __future__ import annotations

import libsumo
import numpy as np

from rsd_planner.simulation.events.stage import Stage, yaw_of
from rsd_planner.simulation.network import RoadNetwork
from rsd_planner.simulation.scene import (
    HazardKind,
    LeadCar,
    LightAhead,
    LightState,
    Snapshot,
    Vehicle,
)
from rsd_planner.simulation.traffic import EGO_MIN_GAP_M, KINDS

__all__ = ["Recorder"]

_SNAPSHOT_S = 0.1
_SIGHT_M = 170.0
_HALF_LANE_M = 1.6
_NO_LEAD = (HazardKind.CYCLIST, HazardKind.CUT_IN, HazardKind.MERGE)


class Recorder:
    """Reads SUMO after each step."""

    def __init__(self, road: RoadNetwork, stage: Stage) -> None:
        self._signals = road.signals
        self._by_approach = {(s.light_id, s.edge_id): i for i, s in enumerate(road.signals)}
        self._by_light: dict[str, list[int]] = {}
        for index, signal in enumerate(road.signals):
            self._by_light.setdefault(signal.light_id, []).append(index)
        self._stage = stage
        self._offset: dict[str, float] = {}
        self._lamp_until: dict[str, float] = {}
        self._smooth_mps: dict[str, float] = {}
        self._passing: int | None = None
        self._followed = ""  # the lead before
        self.times: list[float] = []
        self.fronts: list[tuple[float, float]] = []
        self.headings: list[float] = []
        self.odometer: list[float] = []
        self.snapshots: list[Snapshot] = []

    def step(self, time_s: float, snapshot: bool) -> None:
        self.times.append(time_s)
        self.odometer.append(libsumo.vehicle.getDistance("ego"))
        x, y = libsumo.vehicle.getPosition("ego")
        yaw = self._stage.way.yaw(self._stage.ego_s)
        aside = self._stage.ego_offset_m + self._stage.slide_m("ego")
        self.fronts.append((x - aside * float(np.sin(yaw)), y + aside * float(np.cos(yaw))))
        self.headings.append(yaw_of("ego"))
        if snapshot:
            self.snapshots.append(self._snapshot(time_s))

    def _snapshot(self, time_s: float) -> Snapshot:
        x, y = self.fronts[-1]
        vehicles = []
        for vehicle_id in libsumo.vehicle.getIDList():
            if vehicle_id == "ego" or vehicle_id in self._stage.ghosts:
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
            vehicles=(*vehicles, *self._stage.scripted()),
            lights=tuple(lights),
            lead=self._lead(by_id),
            light_ahead=self._light_ahead(lights),
            pedestrians=self._stage.pedestrians(),
            hazards=tuple(sorted(self._stage.hazards, key=lambda h: (h.distance_m, h.kind.value))),
        )

    def _vehicle(self, vehicle_id: str, front: tuple[float, float], time_s: float) -> Vehicle:
        # A type of its own is called type@vehicle.
        kind = libsumo.vehicle.getTypeID(vehicle_id).split("@")[0]
        length, width, height = KINDS[kind]
        yaw = yaw_of(vehicle_id)
        speed = libsumo.vehicle.getSpeed(vehicle_id)
        front, yaw = self._aside(vehicle_id, front, yaw, speed)
        # Over a little time: single steps are noisy near the desired speed.
        before = self._smooth_mps.get(vehicle_id, speed)
        smooth = before + 0.35 * (speed - before)
        self._smooth_mps[vehicle_id] = smooth
        acceleration = 0.35 * (speed - before) / _SNAPSHOT_S
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
            colour_rgb=self._stage.colour(vehicle_id),
            indicator=self._stage.indicators.get(vehicle_id, ""),
        )

    def _aside(
        self, vehicle_id: str, front: tuple[float, float], yaw: float, speed: float
    ) -> tuple[tuple[float, float], float]:
        """Front and yaw of a vehicle that a script moves sideways."""
        offset = self._stage.offsets.get(vehicle_id, 0.0) + self._stage.slide_m(vehicle_id)
        before = self._offset.get(vehicle_id, offset)
        self._offset[vehicle_id] = offset
        if offset == 0.0 and before == 0.0:
            return front, yaw
        if abs(offset - before) > 1.0:
            before = offset  # it has just begun to change lanes
        actor = self._stage.actors.get(vehicle_id)
        heading = yaw if actor is None else self._stage.way.yaw(actor.s_m)
        x = front[0] - offset * float(np.sin(heading))
        y = front[1] + offset * float(np.cos(heading))
        turn = float(np.arctan2(offset - before, max(speed, 3.0) * _SNAPSHOT_S))
        oncoming = np.cos(yaw - heading) < 0.0
        return (x, y), yaw + (-turn if oncoming else turn)

    def _lead(self, by_id: dict[str, Vehicle]) -> LeadCar | None:
        found = libsumo.vehicle.getLeader("ego", 120.0)
        name, gap = (found[0], float(found[1]) + EGO_MIN_GAP_M) if found else ("", 0.0)
        leaving = self._stage.actors.get(self._followed)
        # SUMO's vehicles leave a lane at once; what is drawn is still in it for a while.
        if (
            leaving is not None
            and self._followed in by_id
            and name != self._followed
            and abs(self._stage.slide_m(self._followed)) > _HALF_LANE_M
        ):
            name, gap = self._followed, leaving.rear_m - self._stage.ego_s
        self._followed = name if name in by_id else ""
        if not self._followed:
            return None
        lead = by_id[name]
        told = {a for h in self._stage.hazards if h.kind in _NO_LEAD for a in h.actor_ids}
        if lead.vehicle_id in told or lead.kind == "cyclist":
            return None
        return LeadCar(
            lead.vehicle_id, max(0.1, gap), lead.speed_mps, lead.acceleration_mps2, lead.brake_lamp
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


def _light(state: str) -> LightState:
    if state in "Gg":
        return LightState.GREEN
    return LightState.AMBER if state in "yY" else LightState.RED
