"""What the road itself asks for: lights, sharp curves, the right of way of others."""

from __future__ import annotations

import libsumo
import numpy as np

from rsd_planner.simulation.events.base import Event
from rsd_planner.simulation.events.stage import Stage, Wish, brake_for, yaw_of
from rsd_planner.simulation.network import Curve, GiveWay, Signal
from rsd_planner.simulation.scene import Hazard, HazardKind
from rsd_planner.simulation.traffic import draw_kind, enter

__all__ = ["GiveWayToOthers", "LightPlan", "SharpCurve"]

_JUNCTION_M = 14.0  # from the line to the far side


class LightPlan(Event):
    """One light on the way: it turns amber as the ego comes, is red for a while, or is green."""

    def __init__(self, signal: Signal, stop_m: float, rng: np.random.Generator):
        self._light_id, self._stop = signal.light_id, stop_m
        logic = libsumo.trafficlight.getAllProgramLogics(self._light_id)[0]
        shows = [phase.state[signal.link_index].lower() for phase in logic.phases]
        self._green, self._amber = shows.index("g"), shows.index("y")
        # While the others have green, and their amber that ends it.
        self._red = (self._green + 3) % len(shows)
        self._plan = str(rng.choice(["amber", "red", "green"], p=[0.65, 0.25, 0.1]))
        self._amber_at_m = float(rng.uniform(18.0, 62.0))
        self._red_s = float(rng.uniform(1.0, 4.0))  # of standing before it
        self._green_at_m = float(rng.uniform(12.0, 45.0))
        self._goes_early = bool(rng.random() < 0.4)
        self._state = "far"
        self._passes: bool | None = None  # whether it is too late to stop for amber
        self._since_s: float | None = None

    def step(self, stage: Stage) -> None:
        gap = self._stop - stage.ego_s
        if not -3.0 < gap < 160.0:
            return
        phase = libsumo.trafficlight.getPhase(self._light_id)
        self._stop_softly(stage, gap, phase)
        if self._state == "far":
            self._state = "near"
            self._set(self._red if self._plan == "red" else self._green)
        elif self._state == "near":
            self._hold(stage, gap)
        elif phase == self._red:
            self._turn_green(stage, gap)

    def _stop_softly(self, stage: Stage, gap: float, phase: int) -> None:
        """SUMO's driver would brake late and hard."""
        if phase == self._green:
            self._passes = None
        elif phase == self._amber and self._passes is None:
            needed = brake_for(stage.ego_speed, gap)
            self._passes = needed > 2.4 and gap < 2.8 * stage.ego_speed
        if phase != self._green and not self._passes and gap > 0.0:
            stage.wishes.append(Wish(gap + 0.8))

    def _set(self, phase: int, seconds: float = 60.0) -> None:
        libsumo.trafficlight.setPhase(self._light_id, phase)
        libsumo.trafficlight.setPhaseDuration(self._light_id, seconds)

    def _hold(self, stage: Stage, gap: float) -> None:
        if self._plan == "red":
            self._state = "red"
        elif self._plan == "amber" and gap < self._amber_at_m and stage.ego_speed > 2.0:
            self._set(self._amber, 3.0)
            self._state = "red"

    def _turn_green(self, stage: Stage, gap: float) -> None:
        early = self._goes_early and stage.ego_speed > 0.5
        if self._since_s is None:
            libsumo.trafficlight.setPhaseDuration(self._light_id, 60.0)
            if stage.ego_speed < 0.5 or (early and gap < self._green_at_m):
                self._since_s = stage.time_s
        elif stage.time_s - self._since_s > (0.3 if early else self._red_s):
            self._set(self._red + 1, 1.5)
            self._state = "green"


class SharpCurve(Event):
    """The ego is slower in it, and before it."""

    def __init__(self, curve: Curve, speed_mps: float):
        self._curve, self._speed = curve, speed_mps

    def step(self, stage: Stage) -> None:
        gap = self._curve.start_m - stage.ego_s
        middle = (self._curve.start_m + self._curve.end_m) / 2
        if gap > 90.0 or stage.ego_s > self._curve.end_m:
            return
        stage.wishes.append(Wish(gap, self._speed, follow=False))
        soon = gap < (stage.ego_speed**2 - self._speed**2) / 2.8 + 3.0 * stage.ego_speed
        if soon and stage.ego_s < middle and stage.limit_mps > self._speed + 1.5:
            stage.report(Hazard(HazardKind.CURVE, (), max(0.0, gap), self._curve.side, self._speed))


class GiveWayToOthers(Event):
    """Vehicles come on the road that has the right of way just when the ego does."""

    def __init__(self, place: GiveWay, rng: np.random.Generator):
        self._place = place
        self._early_s = float(rng.uniform(5.0, 7.0))
        count = int(rng.integers(1, 4))
        self._others = [
            (
                int(rng.integers(max(1, len(place.cross_routes)))), draw_kind(rng),
                float(rng.uniform(-0.5, 1.2)) + 2.6 * i,
            )
            for i in range(count)
        ]  # fmt: skip
        self._sent = False
        self._names: list[str] = []

    def step(self, stage: Stage) -> None:
        place = self._place
        gap = place.distance_m - stage.ego_s
        if -_JUNCTION_M < gap < 30.0:
            self._report_crossing(stage, gap)
        if not 0.0 < gap < 120.0:
            return
        if not self._sent and gap / max(stage.ego_speed, 3.0) < self._early_s:
            self._send(stage)
        stage.wishes.append(Wish(gap - 6.0, 5.5, follow=False))
        if gap < max(30.0, 4.0 * stage.ego_speed):
            self._report(stage, gap)

    def _send(self, stage: Stage) -> None:
        self._sent = True
        if not self._place.cross_routes:
            return
        for i, (which, kind, later_s) in enumerate(self._others):
            route = self._place.cross_routes[which % len(self._place.cross_routes)]
            length = libsumo.lane.getLength(f"{route[0]}_0")
            speed = min(9.0, libsumo.lane.getMaxSpeed(f"{route[0]}_0"))
            arrives_s = self._early_s + later_s
            position = float(np.clip(length - speed * arrives_s, 6.0 + 9.0 * i, length - 20.0))
            name = f"cross_{self._place.junction_id}_{i}"
            enter(name, route[0], kind, 0, position, speed)
            self._names.append(name)

    def _report(self, stage: Stage, gap: float) -> None:
        for foe in libsumo.vehicle.getJunctionFoes("ego", gap + 5.0):
            name, foe_gap, must_wait = foe[0], foe[2], foe[7]
            if not must_wait or name not in stage.actors:
                continue
            speed = libsumo.vehicle.getSpeed(name)
            if foe_gap < max(12.0, 4.5 * speed):
                side = self._side(stage, stage.actors[name].d_m)
                stage.report(Hazard(HazardKind.CROSS_TRAFFIC, (name,), gap, side, speed))

    def _report_crossing(self, stage: Stage, gap: float) -> None:
        """Who is on the junction before the ego: SUMO no longer counts them as foes."""
        inside = f":{self._place.junction_id}_"
        for actor in stage.actors.values():
            ahead = actor.s_m - stage.ego_s
            beside = abs(actor.d_m - stage.own_d())
            if not actor.edge_id.startswith(inside) or not -1.0 < ahead < gap + _JUNCTION_M:
                continue
            across = abs(np.cos(yaw_of(actor.vehicle_id) - stage.way.yaw(actor.s_m))) < 0.7
            if across and beside < 2.0 + actor.length_m:
                speed = libsumo.vehicle.getSpeed(actor.vehicle_id)
                side = self._side(stage, actor.d_m)
                who = (actor.vehicle_id,)
                stage.report(Hazard(HazardKind.CROSS_TRAFFIC, who, max(gap, 1.0), side, speed))

    @staticmethod
    def _side(stage: Stage, d_m: float) -> str:
        return "left" if d_m > stage.own_d() else "right"
