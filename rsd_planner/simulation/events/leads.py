"""The vehicle ahead: it brakes and goes, stops, dawdles, and at last leaves the lane."""

from __future__ import annotations

import libsumo
import numpy as np

from rsd_planner.simulation.events.base import Event
from rsd_planner.simulation.events.stage import Actor, Stage

__all__ = ["LeadLeaves", "LeadManners"]

_REACH_M = 60.0
_KINDS = {"gentle": 0.28, "hard": 0.24, "stop": 0.16, "stop_and_go": 0.16, "dawdle": 0.16}


class LeadManners(Event):
    """Gentle or hard braking, a stop, stop-and-go, or a slow while."""

    def __init__(self, s_m: float, rng: np.random.Generator):
        self._s = s_m
        self._kind = str(rng.choice(list(_KINDS), p=list(_KINDS.values())))
        self._share = float(rng.uniform(0.0, 1.0))
        self._hold_s = float(rng.uniform(1.0, 2.5))
        self._name: str | None = None
        self._steps: list[tuple[float, float, float]] = []  # at this time, to that speed, within
        self._over = False

    def step(self, stage: Stage) -> None:
        if self._over or stage.ego_s < self._s:
            return
        if self._name is None:
            self._start(stage)
        elif self._name not in stage.actors:
            self._over = True
        elif self._steps and stage.time_s >= self._steps[0][0]:
            _, speed, within = self._steps.pop(0)
            if speed < 0.0:
                libsumo.vehicle.setSpeed(self._name, -1)
            elif within > 0.0:
                libsumo.vehicle.slowDown(self._name, speed, within)
            else:
                libsumo.vehicle.setSpeed(self._name, speed)
            self._over = not self._steps

    def _start(self, stage: Stage) -> None:
        lead = stage.ahead(_REACH_M)
        if lead is None or lead.vehicle_id.startswith("cyclist") or stage.ego_s > self._s + 60.0:
            self._over = stage.ego_s > self._s + 60.0
            return
        gap, speed = lead.rear_m - stage.ego_s, lead.speed_mps
        # Hard braking is for those who keep their distance.
        if speed < 4.0 or gap < 0.55 * stage.ego_speed:
            return
        self._name = lead.vehicle_id
        low, high, brake = {
            "gentle": (0.4, 0.7, 1.4), "hard": (0.15, 0.4, 3.4), "stop": (0.0, 0.0, 2.3),
            "stop_and_go": (0.0, 0.0, 2.0), "dawdle": (0.6, 0.75, 0.9),
        }[self._kind]  # fmt: skip
        target = speed * (low + (high - low) * self._share)
        hold = self._hold_s * (2.5 if self._kind == "dawdle" else 1.0)
        self._steps = list(_brake(stage.time_s, speed, target, brake, hold))
        if self._kind == "stop_and_go":
            again = self._steps[-1][0] + 3.5
            self._steps += _brake(again, 5.0, 0.0, 1.8, hold)


def _brake(
    at_s: float, speed: float, target: float, brake: float, hold_s: float
) -> list[tuple[float, float, float]]:
    lasts = (speed - target) / brake
    return [
        (at_s, target, lasts), (at_s + lasts, target, 0.0), (at_s + lasts + hold_s, -1.0, 0.0),
    ]  # fmt: skip


class LeadLeaves(Event):
    """It changes to another lane or drives away, so that the road is free."""

    def __init__(self, s_m: float, rng: np.random.Generator):
        self._s = s_m
        self._changed = False
        self._left = bool(rng.random() < 0.5)
        self._name: str | None = None
        self._since_s = 0.0
        self._over = False

    def step(self, stage: Stage) -> None:
        if self._over or stage.ego_s < self._s:
            return
        if self._name is None:
            lead = stage.ahead(90.0)
            self._over = lead is None
            if lead is not None:
                self._name, self._since_s = lead.vehicle_id, stage.time_s
            return
        actor = stage.actors.get(self._name)
        passed_s = stage.time_s - self._since_s
        if actor is None or passed_s > 9.0:
            self._done(stage)
        elif passed_s > 1.2:
            libsumo.vehicle.setSpeedFactor(self._name, 1.3)
            if actor.s_m < stage.ego_s or abs(actor.d_m - stage.own_d()) > 2.6:
                self._done(stage)
            elif not self._changed and actor.speed_mps > 5.0:
                self._change(stage, actor)
        else:
            self._signal(stage, actor)

    def _target(self, stage: Stage, actor: Actor) -> int | None:
        stretch = stage.way.stretch_at(actor.s_m)
        if stretch is None:
            return None
        lane = libsumo.vehicle.getLaneIndex(actor.vehicle_id)
        for target in (lane + 1, lane - 1) if self._left else (lane - 1, lane + 1):
            d = stretch.lane_d(target)
            if target in stretch.lanes and stage.is_free(d, actor.rear_m - 10.0, actor.s_m + 10.0):
                return target
        return None

    def _signal(self, stage: Stage, actor: Actor) -> None:
        target = self._target(stage, actor)
        if target is not None:
            left = target > libsumo.vehicle.getLaneIndex(actor.vehicle_id)
            stage.indicators[actor.vehicle_id] = "left" if left else "right"

    def _change(self, stage: Stage, actor: Actor) -> None:
        target = self._target(stage, actor)
        if target is not None:
            libsumo.vehicle.changeLane(actor.vehicle_id, target, 2.0)
            self._changed = True

    def _done(self, stage: Stage) -> None:
        if self._name is not None:
            stage.indicators.pop(self._name, None)
        self._over = True
