"""Bicycles: one ahead in the ego's lane, and others that are no cause."""

from __future__ import annotations

import libsumo
import numpy as np

from rsd_planner.simulation.events.base import Event
from rsd_planner.simulation.events.stage import Prop, Stage
from rsd_planner.simulation.events.things import new_vehicle
from rsd_planner.simulation.scene import Hazard, HazardKind
from rsd_planner.simulation.traffic import COLOURS, KINDS

__all__ = ["CyclistAhead", "FarRiders"]

_LANE_SIDE_M = -0.7  # a rider keeps to the right of the lane
_JOIN_S, _LEAVE_S = 3.0, 2.6


class CyclistAhead(Event):
    """A bicycle comes onto the road ahead, slower than the ego, and leaves it again."""

    def __init__(self, name: str, s_m: float, rng: np.random.Generator):
        self._name, self._s = name, s_m
        self._speed = float(rng.uniform(3.5, 6.0))
        self._ride_s = float(rng.uniform(4.0, 8.0))
        self._ahead_m = float(rng.uniform(55.0, 75.0))
        self._state = "idle"
        self._since_s = 0.0
        self._close_s: float | None = None

    def step(self, stage: Stage) -> None:
        if self._state == "idle":
            if stage.ego_s >= self._s:
                self._join(stage)
        elif self._state == "rides":
            self._ride(stage)
        elif self._state == "leaves":
            self._leave(stage)

    def _join(self, stage: Stage) -> None:
        ahead = stage.ego_s + self._ahead_m
        stretch = stage.way.stretch_at(ahead)
        if stage.ego_s > self._s + 90.0:
            self._state = "over"
        elif (
            stretch is not None and stage.way.inside(ahead, 8.0, 25.0)
            and stage.is_free(stage.own_d(), stage.ego_s + 1.0, ahead + 12.0)
        ):  # fmt: skip
            lane = stretch.like(stage.ego_lane, stage.way.stretch_near(stage.ego_s))
            lane = lane if lane in stretch.lanes else stretch.lanes[0]
            if stage.spawn(self._name, "cyclist", ahead, lane, self._speed):
                libsumo.vehicle.setMaxSpeed(self._name, self._speed)
                libsumo.vehicle.setLaneChangeMode(self._name, 0)
                stage.offsets[self._name] = self._kerb(stage, ahead)
                self._pass_the_kerb(stage, ahead)
                self._state, self._since_s = "rides", stage.time_s

    def _kerb(self, stage: Stage, s_m: float) -> float:
        """Where it comes from and goes to: beside the road, against the middle of its lane."""
        stretch = stage.way.stretch_near(s_m)
        return stage.way.kerbs(s_m)[0] - 0.8 - stretch.lane_d(stage.ego_lane)

    def _pass_the_kerb(self, stage: Stage, s_m: float) -> None:
        """No car is parked where the rider crosses the strip beside the lane."""
        stage.clear.append((s_m - 8.0, s_m + _JOIN_S * self._speed + 4.0))

    def _ride(self, stage: Stage) -> None:
        actor = stage.actors.get(self._name)
        if actor is None:
            if stage.time_s - self._since_s > 3.0:
                self._state = "over"
            return
        share = _ease((stage.time_s - self._since_s) / _JOIN_S)
        start = self._kerb(stage, actor.s_m)
        stage.offsets[self._name] = start + (_LANE_SIDE_M - start) * share
        gap = actor.rear_m - stage.ego_s
        self._tell(stage, gap)
        if self._close_s is None and gap < 20.0:
            self._close_s = stage.time_s
        long = self._close_s is not None and stage.time_s - self._close_s > self._ride_s
        tired = stage.time_s - self._since_s > 20.0
        if (long or tired) and stage.way.inside(actor.s_m, 4.0, 24.0):
            self._state, self._since_s = "leaves", stage.time_s
            self._pass_the_kerb(stage, actor.s_m)

    def _tell(self, stage: Stage, gap: float) -> None:
        near = gap < max(35.0, 4.0 * stage.ego_speed)
        if near and gap > 0.0:
            stage.report(Hazard(HazardKind.CYCLIST, (self._name,), gap, "", self._speed))

    def _leave(self, stage: Stage) -> None:
        actor = stage.actors.get(self._name)
        if actor is None:
            self._state = "over"
            return
        share = _ease((stage.time_s - self._since_s) / _LEAVE_S)
        end = self._kerb(stage, actor.s_m)
        stage.offsets[self._name] = _LANE_SIDE_M + (end - _LANE_SIDE_M) * share
        if share < 0.75:
            self._tell(stage, actor.rear_m - stage.ego_s)
            return
        if share >= 1.0:
            vehicle = new_vehicle(self._name, "cyclist", stage.colour(self._name))
            d = actor.d_m + end
            middle = actor.s_m - KINDS["cyclist"][0] / 2
            stage.props[self._name] = Prop(vehicle, middle, d, self._speed)
            stage.remove(self._name)
            stage.offsets.pop(self._name)
            self._state = "over"


class FarRiders(Event):
    """Bicycles beside the road on the other side, which come towards the ego."""

    def __init__(self, rng: np.random.Generator, count: int, span_m: tuple[float, float]):
        self._riders = [
            (
                float(rng.uniform(*span_m)), float(rng.uniform(3.5, 6.0)),
                float(rng.uniform(0.4, 1.0)), COLOURS[int(rng.integers(len(COLOURS)))],
            )
            for _ in range(count)
        ]  # fmt: skip

    def begin(self, stage: Stage) -> None:
        for i, (s, speed, aside, colour) in enumerate(self._riders):
            vehicle = new_vehicle(f"rider{i}", "cyclist", colour)
            d = stage.way.kerbs(s)[1] + aside
            stage.props[f"rider{i}"] = Prop(vehicle, s, d, -speed, np.pi)

    def step(self, stage: Stage) -> None:
        for i in range(len(self._riders)):
            prop = stage.props[f"rider{i}"]
            prop.d_m += 0.1 * (stage.way.kerbs(prop.s_m)[1] + self._riders[i][2] - prop.d_m)


def _ease(share: float) -> float:
    share = float(np.clip(share, 0.0, 1.0))
    return share * share * (3 - 2 * share)
