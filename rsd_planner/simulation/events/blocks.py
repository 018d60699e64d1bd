"""What stands in the ego's lane: parked vehicles and cones, and streets that they make narrow."""

from __future__ import annotations

from dataclasses import dataclass

import libsumo
import numpy as np

from rsd_planner.simulation.events.base import Event
from rsd_planner.simulation.events.stage import EGO_LENGTH_M, Actor, Stage, Wall, Wish, brake_for
from rsd_planner.simulation.events.things import cones_across, parked_vehicle
from rsd_planner.simulation.scene import Hazard, HazardKind
from rsd_planner.simulation.traffic import enter

__all__ = ["Block", "BlockedLane", "NarrowPassage", "SwerveAround"]

_GHOST_M = 9.0  # SUMO's vehicles stop this much earlier, to get out of the lane again
_OTHERS_WAIT_M = 20.0
_PATIENCE_S = 3.0  # after that the others let the ego go first


@dataclass(frozen=True)
class Block:
    """Where a lane is blocked, and by what."""

    name: str
    s_m: float  # where it begins
    length_m: float
    cones: bool

    @property
    def end_m(self) -> float:
        return self.s_m + self.length_m

    @property
    def kind(self) -> HazardKind:
        return HazardKind.CONES if self.cones else HazardKind.BLOCKED_LANE

    def build(
        self, stage: Stage, d_m: float, rng: np.random.Generator, width_m: float
    ) -> tuple[str, ...]:
        """Places what blocks it around `d_m`; returns the names."""
        if self.cones:
            things = cones_across(stage.way, self.name, (self.s_m, self.end_m), d_m, width_m)
            stage.obstacles |= {thing.obstacle_id: thing for thing in things}
            return tuple(thing.obstacle_id for thing in things)
        vehicle = parked_vehicle(stage.way, self.name, self.s_m, d_m, rng, hazard_lights=True)
        stage.parked[self.name] = vehicle
        return (self.name,)


class BlockedLane(Event):
    """A lane of several is blocked; the ego changes to the next one when that is free."""

    def __init__(self, block: Block, lane: int, target: int, rng: np.random.Generator):
        self._block, self._lane, self._target, self._rng = block, lane, target, rng
        self._actors: tuple[str, ...] = ()
        self._early_s = float(rng.uniform(4.5, 6.0))

    def begin(self, stage: Stage) -> None:
        block = self._block
        stretch = stage.way.stretch_near(block.s_m)
        d = stretch.lane_d(self._lane)
        width = stretch.edge.lane_width_m
        self._actors = block.build(stage, d + float(self._rng.uniform(-0.3, 0.2)), self._rng, width)
        ghost = f"ghost_{block.name}"
        if stage.spawn(ghost, "ghost", block.end_m, self._lane, 0.0):
            libsumo.vehicle.setLength(ghost, block.length_m + _GHOST_M)
            libsumo.vehicle.setLaneChangeMode(ghost, 0)
            stage.ghosts.add(ghost)
            stage.closed.append((block.s_m, self._lane - stretch.path_lane))
        stage.clear.append((block.s_m - 12.0, block.end_m + 4.0))

    def step(self, stage: Stage) -> None:
        block = self._block
        gap = block.s_m - stage.ego_s
        self._guide_others(stage)
        if not -block.length_m - EGO_LENGTH_M < gap < max(38.0, self._early_s * stage.ego_speed):
            return
        stretch = stage.way.stretch_near(block.s_m)
        # Heeded until the ego is all but in the middle of the next lane.
        if abs(stage.ego_d - stretch.lane_d(self._lane)) > stretch.edge.lane_width_m - 0.4:
            return
        if gap < 0.0:
            return
        here = stage.way.stretch_near(stage.ego_s)
        target = here.like(self._target, stretch)
        if target in here.lanes and here.edge_id == stage.ego_edge:
            stage.lane_wish = target
        d = stretch.lane_d(self._target)
        room_m = 6.0 + 0.6 * stage.ego_speed
        free = stage.is_free(d, stage.ego_s - room_m, stage.ego_s + 6.0)
        moving = stage.ego_speed > 1.0
        side = "left" if self._target > self._lane else "right"
        changes = stage.ego_lane == target and here.edge_id == stage.ego_edge
        if not changes:
            stage.wishes.append(Wish(gap - 22.0, 6.0, follow=False))
        stage.report(
            Hazard(block.kind, self._actors, gap, side if changes or (free and moving) else "")
        )

    def _guide_others(self, stage: Stage) -> None:
        """Those who come first change lanes in time, so that nobody queues there."""
        stretch = stage.way.stretch_near(self._block.s_m)
        d, target_d = stretch.lane_d(self._lane), stretch.lane_d(self._target)
        for actor in stage.actors.values():
            away = self._block.s_m - actor.s_m
            if not 20.0 < away < 160.0 or actor.s_m < stage.ego_s or abs(actor.d_m - d) > 1.0:
                continue
            here = stage.way.stretch_at(actor.s_m)
            if here is None or here.edge_id != actor.edge_id:
                continue
            if stage.is_free(target_d, actor.rear_m - 8.0, actor.s_m + 8.0):
                target = here.like(self._target, stretch)
                if target in here.lanes and actor.vehicle_id not in stage.ghosts:
                    libsumo.vehicle.changeLane(actor.vehicle_id, target, 1.0)


class SwerveAround(Event):
    """One lane a way: something stands in it, and the ego passes on the other side of the road."""

    pass_speed_mps = (6.0, 8.5)
    wait_m = 15.0  # before it, where there is room to swerve out again

    def __init__(self, block: Block, rng: np.random.Generator, lane_width_m: float):
        self._block, self._rng = block, rng
        self._width = lane_width_m
        self._speed = float(rng.uniform(*self.pass_speed_mps))
        self._actors: tuple[str, ...] = ()
        self._swerve_m = 0.0
        self._from_m: float | None = None  # where the ego begins to swerve
        self._waits_since: float | None = None

    def begin(self, stage: Stage) -> None:
        block = self._block
        width = min(1.9, self._width - 1.2)
        d = -self._width / 2 + width / 2 + 0.1
        self._actors = block.build(stage, d, self._rng, width)
        self._swerve_m = d + width / 2 + 0.75 + 0.95
        stage.clear.append((block.s_m - 12.0, block.end_m + 4.0))

    def step(self, stage: Stage) -> None:
        self._guide_others(stage)
        gap = self._block.s_m - stage.ego_s
        if gap > max(45.0, 5.0 * stage.ego_speed):
            return
        if stage.ego_s > self._block.end_m + EGO_LENGTH_M + 16.0:
            if self._from_m is not None:
                self._from_m, stage.ego_offset_m = None, 0.0
            return
        if self._from_m is None and gap > 0.0:
            self._approach(stage, gap)
        if self._from_m is not None:
            self._pass(stage, gap)

    def _approach(self, stage: Stage, gap: float) -> None:
        rival = self._rival(stage, gap)
        stage.wishes.append(Wish(gap - 12.0, self._speed, follow=False))
        if rival is not None:
            if gap > self.wait_m - 6.0:
                stage.wishes.append(Wish(gap - self.wait_m + 2.0))
            self._report_rival(stage, gap, rival)
            if stage.ego_speed < 0.5 and self._waits_since is None:
                self._waits_since = stage.time_s
        else:
            self.report(stage, gap, "left")
            if gap < max(self.wait_m + 1.0, min(30.0, 2.6 * stage.ego_speed)):
                self._from_m = stage.ego_s
        if self._waited(stage) or rival is None:
            stage.walls.append(Wall(self._block.end_m + _OTHERS_WAIT_M, only_oncoming=True))

    def _waited(self, stage: Stage) -> bool:
        return self._waits_since is not None and stage.time_s - self._waits_since > _PATIENCE_S

    def report(self, stage: Stage, gap: float, side: str) -> None:
        """What the ego passes, or stops before if there is no side on which to pass."""
        stage.report(Hazard(self._block.kind, self._actors, gap, side))

    def _report_rival(self, stage: Stage, gap: float, rival: Actor) -> None:
        self.report(stage, gap, "")
        distance = max(0.0, rival.s_m - stage.ego_s)
        hazard = Hazard(
            HazardKind.ONCOMING, (rival.vehicle_id,), distance, "left", abs(rival.speed_mps)
        )
        stage.report(hazard)

    def _rival(self, stage: Stage, gap: float) -> Actor | None:
        """The oncoming vehicle that would be in the way, the first to come."""
        block = self._block
        slower = max(0.0, self._speed - stage.ego_speed)
        way = max(gap, 0.0) + block.length_m + 14.0
        clear_s = way / self._speed + slower**2 / (2 * 1.8 * self._speed)
        rivals = []
        for actor in stage.oncoming(max(stage.ego_s, block.s_m - 6.0)):
            speed, room = abs(actor.speed_mps), actor.s_m - block.end_m - _OTHERS_WAIT_M
            comes_s = (room + _OTHERS_WAIT_M - 14.0) / max(speed, 7.0)
            # Once the ego has waited, those wait who still can.
            can_wait = room > 2.0 and brake_for(speed, room) < 2.2
            waits = (room > -3.0 and speed < 0.5) or (can_wait and self._waited(stage))
            if comes_s < clear_s + 0.8 and not waits:
                rivals.append(actor)
        return min(rivals, key=lambda a: a.s_m, default=None)

    def _pass(self, stage: Stage, gap: float) -> None:
        assert self._from_m is not None
        stage.walls.append(Wall(self._block.end_m + _OTHERS_WAIT_M, only_oncoming=True))
        stage.wishes.append(Wish(0.0, self._speed, follow=False))
        stage.ego_offset_m = self._offset(stage.ego_s, self._from_m)
        if gap > 0.0:
            self.report(stage, gap, "left")

    def _offset(self, s_m: float, from_m: float) -> float:
        """How far to the left of its lane a vehicle is whose front is at `s_m`."""
        out_m = max(8.0, min(24.0, self._block.s_m - 2.5 - from_m))
        begin = self._block.s_m - 2.5 - out_m
        back = self._block.end_m + EGO_LENGTH_M + 1.5
        if s_m < back:
            share = float(np.clip((s_m - begin) / out_m, 0.0, 1.0))
        else:
            share = float(np.clip(1.0 - (s_m - back) / 18.0, 0.0, 1.0))
        return self._swerve_m * share**3 * (10 - 15 * share + 6 * share**2)

    def _guide_others(self, stage: Stage) -> None:
        """SUMO's vehicles swerve around it too."""
        for actor in stage.actors.values():
            if not -40.0 < actor.s_m - self._block.s_m < self._block.length_m + 60.0:
                continue
            if stage.on_road(actor) and not stage.is_oncoming(actor):
                offset = self._offset(actor.s_m, self._block.s_m - 22.0)
                stage.offsets[actor.vehicle_id] = offset


class NarrowPassage(SwerveAround):
    """Cars parked on both sides leave room for one; somebody comes the other way."""

    pass_speed_mps = (5.0, 7.0)
    wait_m = 16.0

    def __init__(self, block: Block, rng: np.random.Generator, lane_width_m: float):
        super().__init__(block, rng, lane_width_m)
        self._kind = str(rng.choice(["car", "van", "truck"], p=[0.6, 0.25, 0.15]))
        self._meets_s = float(rng.uniform(0.5, 2.0))
        self._rival_name = f"oncoming_{block.name}"
        self._sent = False

    def begin(self, stage: Stage) -> None:
        block = self._block
        right, left = stage.way.kerbs(block.s_m)
        names: list[str] = []
        at, number = block.s_m, 0
        while at < block.end_m - 5.0:
            for d in (right + 0.9, left - 0.9) if number % 3 else (right + 0.9,):
                name = f"{block.name}_{len(names)}"
                vehicle = parked_vehicle(
                    stage.way, name, at, d, self._rng, hazard_lights=False, against=d > 1.0
                )
                stage.parked[name] = vehicle
                names.append(name)
            at += float(self._rng.uniform(5.8, 6.6))
            number += 1
        self._actors = tuple(names)
        middle = (right + left) / 2
        self._swerve_m = middle
        stage.clear.append((block.s_m - 12.0, block.end_m + 12.0))

    def report(self, stage: Stage, gap: float, side: str) -> None:
        """The parked cars alone are no hazard."""

    def step(self, stage: Stage) -> None:
        block = self._block
        gap = block.s_m - stage.ego_s
        arrives_s = (gap - self.wait_m) / max(stage.ego_speed, 2.0)
        if not self._sent and 0.0 < arrives_s < 4.5 + self._meets_s:
            self._send(stage)
        super().step(stage)
        for actor in stage.oncoming(block.s_m - 60.0):
            if actor.s_m < block.end_m + 30.0:
                offset = _between(actor.s_m, block.s_m - 1.0, block.end_m + 3.0, 10.0)
                lane = stage.way.middle(block.s_m) + self._width / 2
                stage.offsets[actor.vehicle_id] = offset * (lane - self._swerve_m)

    def _send(self, stage: Stage) -> None:
        """Lets a vehicle come, unless one comes anyway."""
        self._sent = True
        block = self._block
        if any(a.s_m < block.end_m + 90.0 for a in stage.oncoming(block.s_m)):
            return
        for away_m in (60.0, 50.0, 40.0, 30.0, 75.0):
            place = stage.backward_place(block.end_m + away_m)
            if place is not None:
                enter(self._rival_name, place[0], self._kind, 0, place[1], 7.0)
                return


def _between(s_m: float, low: float, high: float, ramp_m: float) -> float:
    """1 between two places, fading to 0 within `ramp_m` around them."""
    share = min((s_m - low + ramp_m) / ramp_m, (high + ramp_m - s_m) / ramp_m)
    share = float(np.clip(share, 0.0, 1.0))
    return share * share * (3 - 2 * share)
