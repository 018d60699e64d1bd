"""What events see and move: the ego on its way, SUMO's vehicles around it, scripted actors.

Everything is placed by (s, d) along the ego's way. SUMO must be running. At every act (10 Hz)
events fill the stage anew: hazards, wishes to the ego's expert, walls for everyone else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import libsumo
import numpy as np

from rsd_planner.simulation.events.way import Way
from rsd_planner.simulation.scene import Hazard, Obstacle, Pedestrian, Vehicle
from rsd_planner.simulation.traffic import enter, vehicle_colour

__all__ = ["ACT_STEP_S", "STEP_S", "Actor", "Prop", "Stage", "Walker", "Wall", "Wish", "brake_for"]

ACT_STEP_S = 0.1
STEP_S = 0.05  # of SUMO
EGO_LENGTH_M = 4.6
_SIGHT_M = 190.0
_PENDING_S = 0.5
_SLIDE_S = 3.4  # for a change of lanes; longer on a motorway, and when slower than this
_OTHERS_BRAKE_MPS2 = 1.8


def brake_for(speed_mps: float, gap_m: float) -> float:
    """The even deceleration that ends in a standstill after a distance."""
    return speed_mps**2 / (2 * max(gap_m, 0.3))


def yaw_of(name: str) -> float:
    """A vehicle's yaw in radians counter-clockwise from x; SUMO counts degrees from north."""
    return float(np.deg2rad(90.0 - libsumo.vehicle.getAngle(name)))


@dataclass(frozen=True)
class Actor:
    """A vehicle of SUMO near the ego; s and d are those of its front."""

    vehicle_id: str
    s_m: float
    d_m: float
    speed_mps: float  # along the way: negative for those that come towards the ego
    length_m: float
    edge_id: str

    @property
    def rear_m(self) -> float:
        return self.s_m - self.length_m


@dataclass
class Walker:
    """A person on foot, on straight lines in (s, d)."""

    person_id: str
    s_m: float
    d_m: float
    height_m: float
    colour_rgb: tuple[int, int, int]
    along_mps: float = 0.0
    across_mps: float = 0.0  # to the left
    facing_rad: float = 0.0  # against the way's heading

    @property
    def speed_mps(self) -> float:
        return float(np.hypot(self.along_mps, self.across_mps))

    def step(self) -> None:
        self.s_m += self.along_mps * ACT_STEP_S
        self.d_m += self.across_mps * ACT_STEP_S
        if self.speed_mps > 0.0:
            self.facing_rad = float(np.arctan2(self.across_mps, self.along_mps))


@dataclass
class Prop:
    """A vehicle that no rule of SUMO's moves: it stands by the road or rides beside it."""

    vehicle: Vehicle
    s_m: float  # of its middle
    d_m: float
    along_mps: float = 0.0
    turn_rad: float = 0.0  # against the way's heading

    def step(self) -> None:
        self.s_m += self.along_mps * ACT_STEP_S


@dataclass(frozen=True)
class Wall:
    """A place where vehicles other than the ego must wait."""

    s_m: float
    only_oncoming: bool = False


@dataclass(frozen=True)
class Wish:
    """What an event asks of the ego's expert: to keep off something, or to be slower somewhere."""

    gap_m: float  # from the ego's front bumper
    speed_mps: float = 0.0  # of what it follows, or that it may have there
    follow: bool = True


@dataclass
class _Slide:
    """A vehicle on its way from one lane to the next."""

    from_m: float  # left of the new lane
    share: float = 0.0

    @property
    def offset_m(self) -> float:
        u = min(1.0, self.share)
        return self.from_m * (1.0 - u**3 * (10 - 15 * u + 6 * u**2))


@dataclass
class Stage:
    """The state that events share."""

    way: Way
    seed: int
    limits: dict[str, float]  # speed limits by kind of road, m/s
    time_s: float = 0.0
    ego_s: float = 0.0
    ego_d: float = 0.0  # in SUMO, without the offset below
    ego_speed: float = 0.0
    ego_edge: str = ""
    ego_lane: int = 0
    ego_offset_m: float = 0.0  # to the left of where SUMO drives, to swerve around something
    actors: dict[str, Actor] = field(default_factory=dict)
    walkers: dict[str, Walker] = field(default_factory=dict)
    props: dict[str, Prop] = field(default_factory=dict)
    parked: dict[str, Vehicle] = field(default_factory=dict)
    obstacles: dict[str, Obstacle] = field(default_factory=dict)
    ghosts: set[str] = field(default_factory=set)  # in SUMO for its drivers only; not drawn
    clear: list[tuple[float, float]] = field(default_factory=list)  # no car is parked in there
    closed: list[tuple[float, int]] = field(default_factory=list)  # s, lane from the path's
    crosswalks_m: list[float] = field(default_factory=list)
    indicators: dict[str, str] = field(default_factory=dict)
    offsets: dict[str, float] = field(default_factory=dict)  # of SUMO's vehicles, to the left
    hazards: list[Hazard] = field(default_factory=list)
    wishes: list[Wish] = field(default_factory=list)
    walls: list[Wall] = field(default_factory=list)
    lane_wish: int | None = None  # the lane that the expert shall change to
    _held: set[str] = field(default_factory=set)
    _wanted: dict[str, float] = field(default_factory=dict)  # speeds of others
    _places: dict[str, tuple[float, float]] = field(default_factory=dict)  # s, d
    _lane_d: dict[str, float] = field(default_factory=dict)
    _slides: dict[str, _Slide] = field(default_factory=dict)
    _pending: dict[str, float] = field(default_factory=dict)  # since when

    def refresh(self, time_s: float) -> None:
        """Reads SUMO; forgets what the last act asked for."""
        self.time_s = time_s
        self.hazards.clear()
        self.wishes.clear()
        self.walls.clear()
        self.lane_wish = None
        self._drop_late_ones()
        self.ego_s, self.ego_d = self._places["ego"]
        self.ego_edge = libsumo.vehicle.getRoadID("ego")
        self.ego_speed = libsumo.vehicle.getSpeed("ego")
        self.ego_lane = libsumo.vehicle.getLaneIndex("ego")
        self.actors = {
            name: self._actor(name, s, d) for name, (s, d) in self._places.items() if name != "ego"
        }
        for walker in self.walkers.values():
            walker.step()
        for prop in self.props.values():
            prop.step()

    def observe(self) -> None:
        """Reads where SUMO's vehicles are; called after each step.

        In SUMO they change lanes at once. Here they slide over.
        """
        names = ["ego", *(v for v in libsumo.vehicle.getIDList() if v != "ego")]
        points = np.array([libsumo.vehicle.getPosition(name) for name in names])
        near = np.flatnonzero(np.linalg.norm(points - points[0], axis=1) < _SIGHT_M)
        along, aside = self.way.project(points[near])
        places: dict[str, tuple[float, float]] = {}
        lanes: dict[str, float] = {}
        for index, s, d in zip(near, along, aside, strict=True):
            name = names[index]
            lanes[name] = float(d)
            jump = float(d) - self._lane_d.get(name, float(d))
            if 1.8 < abs(jump) < 6.0 and abs(d) < 25.0:
                self._slides[name] = _Slide(self.slide_m(name) - jump)
            places[name] = (float(s), float(d) + self._slide(name))
        self._places, self._lane_d = places, lanes

    def _slide(self, name: str) -> float:
        slide = self._slides.get(name)
        if slide is None:
            return 0.0
        speed = libsumo.vehicle.getSpeed(name)
        # The ego must move on to slide; of the others nobody must be left between two lanes.
        pace = min(1.0, speed / 3.0) if name == "ego" else min(1.0, max(0.3, speed / 5.0))
        slide.share += pace * STEP_S / (_SLIDE_S + 0.05 * max(0.0, speed - 10.0))
        if slide.share >= 1.0:
            del self._slides[name]
        return slide.offset_m

    def slide_m(self, name: str) -> float:
        """How far to the left of its new lane a vehicle still is."""
        slide = self._slides.get(name)
        return 0.0 if slide is None else slide.offset_m

    def _drop_late_ones(self) -> None:
        """A vehicle for which there is no room does not come at all."""
        waiting = libsumo.simulation.getPendingVehicles()
        self._pending = {name: self._pending.get(name, self.time_s) for name in waiting}
        for name, since_s in self._pending.items():
            if self.time_s - since_s > _PENDING_S:
                libsumo.vehicle.remove(name)

    def _actor(self, name: str, s_m: float, d_m: float) -> Actor:
        yaw = yaw_of(name)
        along = libsumo.vehicle.getSpeed(name) * float(np.cos(yaw - self.way.yaw(s_m)))
        length = libsumo.vehicle.getLength(name)
        return Actor(name, s_m, d_m, along, length, libsumo.vehicle.getRoadID(name))

    def mind_slides(self) -> None:
        """SUMO forgets at once who is still on the way out of a lane."""
        own = abs(self.slide_m("ego")) > 0.4
        for actor in self.actors.values():
            gap = actor.rear_m - self.ego_s
            beside = abs(actor.d_m - self.ego_d)
            slides = own or abs(self.slide_m(actor.vehicle_id)) > 0.4
            if not slides or beside > 2.3 or actor.vehicle_id in self.ghosts:
                continue
            if 0.0 < gap < 40.0:
                self.wishes.append(Wish(gap + 1.0, max(1.5, actor.speed_mps)))
            behind = self.ego_s - EGO_LENGTH_M - actor.s_m
            if own and 0.0 < behind < 3.0 + actor.speed_mps:
                slower = min(actor.speed_mps, self.ego_speed)
                self._wanted[actor.vehicle_id] = max(0.0, slower - 0.3)

    def hold_others(self) -> None:
        """Lets SUMO's vehicles brake for the walls, and go on when these are gone."""
        wanted, self._wanted = self._wanted, {}
        for wall in self.walls:
            for actor in self.actors.values():
                gap = self._gap_to_wall(actor, wall)
                if gap is None or not -2.8 < gap < 70.0:
                    continue
                speed = abs(actor.speed_mps)
                needed = brake_for(speed, gap)
                if needed > _OTHERS_BRAKE_MPS2 or gap < 2.0:
                    slower = max(0.0, speed - needed * STEP_S) if gap > 0.3 else 0.0
                    name = actor.vehicle_id
                    wanted[name] = min(slower, wanted.get(name, slower))
        for name in self._held - set(wanted):
            if name in self.actors:
                libsumo.vehicle.setSpeed(name, -1)
        for name, speed in wanted.items():
            libsumo.vehicle.setSpeed(name, speed)
        self._held = set(wanted)

    def _gap_to_wall(self, actor: Actor, wall: Wall) -> float | None:
        """How far a vehicle is before a wall; none if it is none of its business."""
        if actor.vehicle_id in self.ghosts or not self.on_road(actor):
            return None
        if self.is_oncoming(actor):
            return actor.s_m - wall.s_m - 3.0
        return None if wall.only_oncoming else wall.s_m - actor.s_m - 3.0

    def on_road(self, actor: Actor) -> bool:
        """Whether it is on the ego's road, in either direction."""
        right, left = self.way.kerbs(actor.s_m)
        return right < actor.d_m < left and not actor.edge_id.startswith(("c", "n", "on", "off"))

    def is_oncoming(self, actor: Actor) -> bool:
        """Whether it drives on the ego's road the other way."""
        backward = actor.edge_id.startswith("b")
        return backward or (actor.edge_id.startswith(":") and actor.speed_mps < -1.0)

    def own_d(self) -> float:
        """The middle of the ego's lane, left of the path."""
        stretch = self.way.stretch_at(self.ego_s)
        if stretch is None or stretch.edge_id != self.ego_edge:
            return self.ego_d
        return stretch.lane_d(self.ego_lane)

    def ahead(self, reach_m: float = 100.0) -> Actor | None:
        """The next vehicle in the ego's lane, ghosts left out."""
        d = self.own_d()
        found = [
            a for a in self.actors.values()
            if 0.0 < a.s_m - self.ego_s < reach_m + a.length_m and abs(a.d_m - d) < 1.8
            and a.vehicle_id not in self.ghosts and self.on_road(a) and not self.is_oncoming(a)
        ]  # fmt: skip
        return min(found, key=lambda a: a.s_m, default=None)

    def oncoming(self, beyond_m: float) -> list[Actor]:
        """Vehicles that drive towards the ego and whose rear has not passed a place."""
        return [
            a for a in self.actors.values()
            if a.s_m + a.length_m > beyond_m and self.is_oncoming(a) and self.on_road(a)
        ]  # fmt: skip

    def is_free(self, d_m: float, from_m: float, to_m: float) -> bool:
        """Whether no vehicle of SUMO's is in that piece of a lane forward."""
        return not any(
            abs(a.d_m - d_m) < 2.2 and a.s_m > from_m and a.rear_m < to_m
            for a in self.actors.values()
        )

    def spawn(self, name: str, kind: str, s_m: float, lane: int, speed_mps: float) -> bool:
        """Puts a vehicle on the route at the next step; `lane` counts from the right."""
        stretch = self.way.stretch_at(s_m)
        if stretch is None or lane not in range(len(stretch.edge.lanes)):
            return False
        share = (s_m - stretch.start_m) / (stretch.end_m - stretch.start_m)
        enter(name, stretch.edge_id, kind, lane, share * stretch.edge.length_m, speed_mps)
        return True

    @property
    def limit_mps(self) -> float:
        """The speed limit where the ego is."""
        return self.limits[self.way.stretch_near(self.ego_s).edge.kind]

    def colour(self, name: str) -> tuple[int, int, int]:
        """A vehicle's colour, on SUMO's roads or off them."""
        return vehicle_colour(name, self.seed)

    def in_the_way(self, cars: Sequence[Vehicle]) -> list[bool]:
        """Which parked cars stand where an event wants none."""
        if not cars:
            return []
        s, _ = self.way.project(np.array([[car.x_m, car.y_m] for car in cars]))
        return [any(low < at < high for low, high in self.clear) for at in s]

    def backward_place(self, s_m: float) -> tuple[str, float] | None:
        """Edge and SUMO position on the rightmost lane of the oncoming traffic, beside a place."""
        stretch = self.way.stretch_at(s_m)
        if stretch is None or not self.way.road.backward:
            return None
        twin = f"b{stretch.edge_id[1:]}"
        if twin not in self.way.road.backward:
            return None
        edge = self.way.road.edge(twin)
        position = (stretch.end_m - s_m) / (stretch.end_m - stretch.start_m) * edge.length_m
        # Not so near to a junction that SUMO refuses.
        return (twin, position) if 8.0 < position < edge.length_m - 35.0 else None

    def remove(self, name: str) -> None:
        """Takes a vehicle out of SUMO, if it is there."""
        if name in libsumo.vehicle.getIDList():
            libsumo.vehicle.remove(name)
        self.ghosts.discard(name)
        self.actors.pop(name, None)

    def report(self, *hazards: Hazard) -> None:
        """What the expert heeds now."""
        self.hazards += hazards

    def pedestrians(self) -> tuple[Pedestrian, ...]:
        """Those within sight."""
        return tuple(
            self._pedestrian(w)
            for w in self.walkers.values()
            if -30.0 < w.s_m - self.ego_s < _SIGHT_M
        )

    def _pedestrian(self, walker: Walker) -> Pedestrian:
        x, y, yaw = self.way.at(walker.s_m, walker.d_m)
        return Pedestrian(
            walker.person_id, x, y, yaw + walker.facing_rad, walker.speed_mps, walker.height_m,
            walker.colour_rgb,
        )  # fmt: skip

    def scripted(self) -> tuple[Vehicle, ...]:
        """The props within sight, where they are now."""
        return tuple(
            self.placed(p) for p in self.props.values() if -30.0 < p.s_m - self.ego_s < _SIGHT_M
        )

    def placed(self, prop: Prop) -> Vehicle:
        """The prop's vehicle in the world."""
        x, y, yaw = self.way.at(prop.s_m, prop.d_m)
        name = prop.vehicle.vehicle_id
        return replace(
            prop.vehicle, x_m=x, y_m=y, yaw_rad=yaw + prop.turn_rad, speed_mps=abs(prop.along_mps),
            indicator=self.indicators.get(name, prop.vehicle.indicator),
        )  # fmt: skip
