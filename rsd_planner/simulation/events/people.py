"""People on foot who want to cross, and others who only walk along."""

from __future__ import annotations

import numpy as np

from rsd_planner.simulation.events.base import Event
from rsd_planner.simulation.events.stage import Stage, Walker, Wall, Wish, brake_for
from rsd_planner.simulation.scene import Hazard, HazardKind

__all__ = ["Crossing", "Strollers", "clothes"]

_CLOTHES = (
    (178, 42, 48), (40, 78, 160), (232, 196, 60), (60, 128, 82), (230, 230, 226), (44, 46, 54),
    (214, 120, 52), (120, 84, 150), (150, 170, 190), (110, 84, 64),
)  # fmt: skip
_CORRIDOR_M = 2.0  # half of it: nobody may be that near to the ego's middle line
_STOP_BEFORE_M = 3.5
_HEEDED_M = 50.0


def clothes(rng: np.random.Generator) -> tuple[int, int, int]:
    return _CLOTHES[int(rng.integers(len(_CLOTHES)))]


class Crossing(Event):
    """Someone at the kerb who walks across in front of the ego, at once or when it slows down."""

    def __init__(self, name: str, s_m: float, side: str, waits: bool, rng: np.random.Generator):
        self._name, self._s, self._side, self._waits = name, s_m, side, waits
        self._speed = float(rng.uniform(1.2, 1.8))
        self._patience_s = float(rng.uniform(2.0, 3.5))
        self._early_s = float(rng.uniform(1.5, 2.6))
        self._height = float(rng.uniform(1.55, 1.9))
        self._colour = clothes(rng)
        self._state = "stands"
        self._since_s = 0.0

    def begin(self, stage: Stage) -> None:
        right, left = stage.way.kerbs(self._s)
        d = left + 0.4 if self._side == "left" else right - 0.4
        facing = -np.pi / 2 if self._side == "left" else np.pi / 2
        stage.walkers[self._name] = Walker(
            self._name, self._s, d, self._height, self._colour, facing_rad=facing
        )
        stage.clear.append((self._s - 24.0, self._s + 8.0))
        stage.crosswalks_m.append(self._s)

    def step(self, stage: Stage) -> None:
        if self._state == "over":
            return
        walker = stage.walkers[self._name]
        gap = self._s - stage.ego_s
        if self._state in ("stands", "waits"):
            self._before(stage, walker, gap)
        elif self._state == "crosses":
            self._across(stage, walker, gap)

    def _before(self, stage: Stage, walker: Walker, gap: float) -> None:
        if gap < 7.0:
            self._state = "over"
            return
        lead = stage.ahead(gap + 3.0)
        arrives_s = gap / max(stage.ego_speed, 1.0)
        reach = abs(walker.d_m - stage.ego_d) - _CORRIDOR_M
        lane_s = max(0.0, reach) / self._speed
        if lead is not None and lead.rear_m < self._s + 1.0:
            return
        kindly = brake_for(stage.ego_speed, gap - 8.0) < 1.8
        if self._state == "stands" and self._waits and arrives_s < 6.5 and kindly:
            self._state, self._since_s = "waits", stage.time_s
        # Who stands there looks the same before the ego heeds it.
        if gap < _HEEDED_M:
            stage.report(Hazard(HazardKind.PEDESTRIAN_WAITING, (self._name,), gap, self._side))
        if self._state == "waits":
            stage.wishes.append(Wish(gap - 9.0, 1.5, follow=False))
            patient = stage.time_s - self._since_s > self._patience_s
            ready = patient and brake_for(stage.ego_speed, gap - _STOP_BEFORE_M) < 1.7
        else:
            ready = not self._waits and arrives_s < lane_s + self._early_s
        brakes = brake_for(stage.ego_speed, gap - _STOP_BEFORE_M)
        if ready and brakes < 2.8 and self._others_can_stop(stage):
            self._state = "crosses"
            walker.across_mps = -self._speed if self._side == "left" else self._speed

    def _others_can_stop(self, stage: Stage) -> bool:
        for actor in stage.actors.values():
            if not stage.on_road(actor) or actor.vehicle_id in stage.ghosts:
                continue
            gap = actor.s_m - self._s if stage.is_oncoming(actor) else self._s - actor.s_m
            rear = gap + actor.length_m
            if gap > 0 and brake_for(abs(actor.speed_mps), gap - 4.0) > 3.0:
                return False
            if gap <= 0 and rear > -1.0:
                return False
        return True

    def _across(self, stage: Stage, walker: Walker, gap: float) -> None:
        right, left = stage.way.kerbs(self._s)
        sign = 1.0 if walker.across_mps > 0 else -1.0
        beyond = sign * (walker.d_m - stage.ego_d - stage.ego_offset_m)
        if right - 0.2 < walker.d_m < left + 0.2:
            stage.walls.append(Wall(self._s))
        if walker.d_m > left + 1.2 or walker.d_m < right - 1.2:
            walker.across_mps = 0.0
            walker.along_mps = 1.3
            self._state = "over"
        if beyond < _CORRIDOR_M and gap > 0.0:
            stage.report(
                Hazard(HazardKind.PEDESTRIAN_CROSSING, (self._name,), gap, self._side, self._speed)
            )
            stage.wishes.append(Wish(gap - _STOP_BEFORE_M + 2.0))


class Strollers(Event):
    """People who walk along beside the road. No cause for anything."""

    def __init__(self, rng: np.random.Generator, count: int, span_m: tuple[float, float]):
        self._walkers = [
            (
                float(rng.uniform(*span_m)), rng.random() < 0.5, float(rng.uniform(0.2, 1.2)),
                float(rng.choice([-1.0, 1.0]) * rng.uniform(0.9, 1.6)),
                float(rng.uniform(1.5, 1.9)), clothes(rng),
            )
            for _ in range(count)
        ]  # fmt: skip

    def begin(self, stage: Stage) -> None:
        for i, (s, on_left, inward, speed, height, colour) in enumerate(self._walkers):
            right, left = stage.way.kerbs(s)
            d = left + 0.9 + inward if on_left else right - 0.9 - inward
            stage.walkers[f"stroller{i}"] = Walker(
                f"stroller{i}", s, d, height, colour, along_mps=speed
            )

    def step(self, stage: Stage) -> None:
        for i in range(len(self._walkers)):
            walker = stage.walkers[f"stroller{i}"]
            # Nobody steps onto the road where another street comes in.
            ahead = walker.s_m + np.sign(walker.along_mps) * 6.0
            if not stage.way.inside(ahead, 9.0, 9.0):
                walker.along_mps = -walker.along_mps
