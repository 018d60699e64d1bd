"""Vehicles that come into the ego's lane: cut in, merge from a ramp, pull out from the kerb."""

from __future__ import annotations

import libsumo
import numpy as np

from rsd_planner.simulation.events.base import Event
from rsd_planner.simulation.events.stage import ACT_STEP_S, STEP_S, Actor, Prop, Stage, Wish
from rsd_planner.simulation.events.things import new_vehicle
from rsd_planner.simulation.scene import Hazard, HazardKind
from rsd_planner.simulation.traffic import KINDS, NO_LANE_CHANGES, draw_kind, enter

__all__ = ["CutIn", "Merge", "PullOut"]

_SIGNAL_S = 1.6
_GIVE_UP_S = 14.0


class CutIn(Event):
    """A vehicle of the next lane comes a little ahead of the ego, signals and moves in."""

    kind = HazardKind.CUT_IN

    def __init__(self, name: str, s_m: float, side: str, rng: np.random.Generator):
        self._name, self._s, self._side = name, s_m, side
        self._gap = float(rng.uniform(9.0, 17.0))
        self._kind = draw_kind(rng)
        self._after = float(rng.uniform(0.82, 1.0))
        self._state = "idle"
        self._since_s = 0.0
        self._tau_s = 0.0

    def begin(self, stage: Stage) -> None:
        self._tau_s = libsumo.vehicletype.getTau("ego")

    def step(self, stage: Stage) -> None:
        if self._state == "idle" and stage.ego_s >= self._s:
            self._start(stage)
        elif self._state in ("comes", "signals", "moves"):
            actor = stage.actors.get(self._name)
            if actor is None:
                if stage.time_s - self._since_s > 2.0:
                    self._finish(stage)
                return
            self._act(stage, actor)

    def _start(self, stage: Stage) -> None:
        """Takes a vehicle that is there already, or lets one overtake from out of sight."""
        self._since_s = stage.time_s
        d = self._from_d(stage)
        if d is None or stage.ego_speed < 3.0:
            if stage.ego_s > self._s + 60.0:
                self._state = "over"
            return
        near = [
            a for a in stage.actors.values()
            if abs(a.d_m - d) < 1.0 and -14.0 < a.rear_m - stage.ego_s < 50.0
            and not stage.is_oncoming(a) and a.vehicle_id not in stage.ghosts
            and stage.on_road(a) and a.speed_mps > 3.0 and not a.vehicle_id.startswith("rider")
        ]  # fmt: skip
        if near:
            self._take(
                stage, min(near, key=lambda a: abs(a.rear_m - stage.ego_s - 15.0)).vehicle_id
            )
            return
        behind = stage.ego_s - 13.0
        lane = stage.ego_lane + (1 if self._side == "left" else -1)
        if stage.is_free(d, behind - 20.0, behind + 12.0) and stage.way.stretch_at(behind):
            stretch = stage.way.stretch_at(behind)
            if stretch is not None and stretch.edge_id == stage.ego_edge:
                speed = stage.ego_speed + 3.5
                if stage.spawn(self._name, self._kind, behind, lane, speed):
                    self._state = "comes"
                    return
        if stage.ego_s > self._s + 80.0:
            self._state = "over"

    def _take(self, stage: Stage, name: str) -> None:
        self._name = name
        self._state = "comes"
        self._since_s = stage.time_s

    def _from_d(self, stage: Stage) -> float | None:
        """The middle of the lane it comes from; none if there is none."""
        stretch = stage.way.stretch_at(stage.ego_s)
        lane = stage.ego_lane + (1 if self._side == "left" else -1)
        if stretch is None or lane not in stretch.lanes or stretch.edge_id != stage.ego_edge:
            return None
        return stretch.lane_d(lane)

    def _act(self, stage: Stage, actor: Actor) -> None:
        gap = actor.rear_m - stage.ego_s
        if self._state == "comes":
            self._come(stage, actor, gap)
        elif self._state == "signals":
            self._keep_gap(stage, gap, 0.8)
            self._tell(stage, gap, actor)
            if stage.time_s - self._since_s > _SIGNAL_S:
                self._move(stage)
        else:
            self._tell(stage, gap, actor)
            self._keep_gap(stage, gap, 0.8)
            inside = abs(actor.d_m - stage.own_d()) < 0.5
            if inside or stage.time_s - self._since_s > 6.0:
                self._finish(stage)

    def _come(self, stage: Stage, actor: Actor, gap: float) -> None:
        self._keep_gap(stage, gap, 0.0)
        # One that comes down a ramp will want to merge.
        if (
            self.kind is HazardKind.MERGE
            and 2.0 < gap < 45.0
            and abs(actor.d_m - stage.ego_d) < 9.0
        ):
            self._tell(stage, gap, actor)
        libsumo.vehicle.setLaneChangeMode(self._name, NO_LANE_CHANGES)
        libsumo.vehicle.setSpeedFactor(self._name, 1.35)
        lead = stage.ahead(60.0)
        room = lead is None or lead.rear_m > actor.s_m + 6.0
        beside = self._from_d(stage) is not None
        ready = (
            abs(gap - self._gap) < 4.0
            and gap > 7.0
            and abs(actor.speed_mps - stage.ego_speed) < 2.5
        )
        level = stage.way.inside(stage.ego_s, 0.0, 45.0) or self.kind is HazardKind.MERGE
        if ready and beside and room and level and stage.ego_speed > 3.5:
            self._state, self._since_s = "signals", stage.time_s
            stage.indicators[self._name] = "right" if self._side == "left" else "left"
        elif stage.time_s - self._since_s > _GIVE_UP_S:
            self._release(stage)
            self._state = "over"

    def _keep_gap(self, stage: Stage, gap: float, faster_mps: float) -> None:
        speed = stage.ego_speed + float(np.clip(0.35 * (self._gap - gap), -4.0, 5.5)) + faster_mps
        now = libsumo.vehicle.getSpeed(self._name)
        step = float(np.clip(speed - now, -2.5 * STEP_S, 2.4 * ACT_STEP_S))
        libsumo.vehicle.setSpeed(self._name, max(1.0, now + step))

    def _move(self, stage: Stage) -> None:
        stretch = stage.way.stretch_at(stage.ego_s)
        if stretch is None:
            return
        libsumo.vehicle.changeLane(self._name, stage.ego_lane, 6.0)
        # The ego bears a short distance for a while.
        libsumo.vehicle.setTau("ego", 0.6)
        self._state, self._since_s = "moves", stage.time_s

    def _tell(self, stage: Stage, gap: float, actor: Actor) -> None:
        stage.wishes.append(Wish(0.0, max(2.0, actor.speed_mps - 0.5), follow=False))
        stage.report(
            Hazard(self.kind, (self._name,), max(0.5, gap), self._side, abs(actor.speed_mps))
        )

    def _finish(self, stage: Stage) -> None:
        self._release(stage)
        libsumo.vehicle.setTau("ego", self._tau_s)
        self._state = "over"

    def _release(self, stage: Stage) -> None:
        stage.indicators.pop(self._name, None)
        if self._name in stage.actors:
            libsumo.vehicle.setSpeed(self._name, -1)
            libsumo.vehicle.setSpeedFactor(self._name, self._after)


class Merge(CutIn):
    """The same from a ramp whose lane ends."""

    kind = HazardKind.MERGE

    def __init__(
        self, name: str, ramp_id: str, start_m: float, end_m: float, rng: np.random.Generator
    ):
        super().__init__(name, start_m, "right", rng)
        self._ramp_id, self._end = ramp_id, end_m
        self._early_s = float(rng.uniform(5.5, 6.5))

    def step(self, stage: Stage) -> None:
        if self._state == "idle":
            self._enter(stage)
        else:
            super().step(stage)

    def _enter(self, stage: Stage) -> None:
        away_s = (self._s - stage.ego_s) / max(stage.ego_speed, 3.0)
        if stage.ego_s > self._s + 20.0:
            self._state = "over"
        elif away_s < self._early_s:
            length = libsumo.lane.getLength(f"{self._ramp_id}_0")
            speed = min(20.0, 0.85 * stage.ego_speed)
            position = float(
                np.clip(length - away_s * 1.02 * speed + self._gap, 10.0, length - 5.0)
            )
            enter(self._name, self._ramp_id, self._kind, 0, position, speed)
            self._state, self._since_s = "comes", stage.time_s

    def _from_d(self, stage: Stage) -> float | None:
        stretch = stage.way.stretch_at(stage.ego_s)
        if (
            stretch is None
            or stretch.edge.extra_lanes == 0
            or stage.ego_lane != stretch.edge.extra_lanes
        ):
            return None
        return stretch.lane_d(stage.ego_lane - 1)


class PullOut(Event):
    """A car at the kerb signals and drives off in front of the ego."""

    def __init__(self, name: str, s_m: float, d_m: float, rng: np.random.Generator):
        self._name, self._s, self._d = name, s_m, d_m
        self._kind = str(rng.choice(["car", "van"], p=[0.75, 0.25]))
        self._early_s = float(rng.uniform(2.4, 3.2))
        self._after = float(rng.uniform(0.82, 1.0))
        self._state = "stands"
        self._since_s = 0.0

    def begin(self, stage: Stage) -> None:
        length = KINDS[self._kind][0]
        vehicle = new_vehicle(self._name, self._kind, stage.colour(self._name))
        stage.props[self._name] = Prop(vehicle, self._s - length / 2, self._d)
        stage.clear.append((self._s - length - 7.0, self._s + 8.0))

    def step(self, stage: Stage) -> None:
        length = KINDS[self._kind][0]
        gap = self._s - length - stage.ego_s
        if self._state == "over" or gap > 70.0:
            return
        {"stands": self._stand, "signals": self._signal, "drives": self._drive}[self._state](
            stage, gap
        )

    def _stand(self, stage: Stage, gap: float) -> None:
        needed = 12.0 + self._early_s * stage.ego_speed
        free = stage.is_free(0.0, stage.ego_s + 1.0, self._s + 10.0)
        if gap < 8.0:
            self._state = "over"
        elif free and needed - 8.0 < gap < needed + 1.5 * stage.ego_speed and stage.ego_speed > 3.0:
            self._state, self._since_s = "signals", stage.time_s
            stage.indicators[self._name] = "left"

    def _signal(self, stage: Stage, gap: float) -> None:
        self._tell(stage, gap, 0.0)
        stage.wishes.append(Wish(gap - 8.0, 5.0, follow=False))
        if stage.time_s - self._since_s < _SIGNAL_S:
            return
        if gap < 9.0 or not stage.is_free(0.0, stage.ego_s + 1.0, self._s + 8.0):
            stage.indicators.pop(self._name, None)
            self._state = "over"
            return
        if stage.spawn(self._name, self._kind, self._s, 0, 0.5):
            stage.offsets[self._name] = self._d
            self._state, self._since_s = "drives", stage.time_s

    def _drive(self, stage: Stage, gap: float) -> None:
        actor = stage.actors.get(self._name)
        out_s = stage.time_s - self._since_s
        if actor is None:
            if out_s > 1.0:
                stage.indicators.pop(self._name, None)
                self._state = "over"
            return
        stage.props.pop(self._name, None)
        share = float(np.clip(out_s / 3.2, 0.0, 1.0))
        stage.offsets[self._name] = self._d * (1.0 - share**2 * (3 - 2 * share))
        if out_s < 4.0:
            self._tell(stage, actor.rear_m - stage.ego_s, abs(actor.speed_mps))
        else:
            stage.offsets.pop(self._name)
            stage.indicators.pop(self._name, None)
            libsumo.vehicle.setSpeedFactor(self._name, self._after)
            self._state = "over"

    def _tell(self, stage: Stage, gap: float, speed: float) -> None:
        stage.report(Hazard(HazardKind.CUT_IN, (self._name,), max(0.5, gap), "right", speed))
