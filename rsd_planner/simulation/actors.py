"""Everything that comes, goes and moves: vehicles, people, cones and barriers.

An actor's label says what it is to the ego: of those that `Snapshot.hazards` names the class of
their hazard, of the next vehicle on the ego's lane the lead's, else merely its kind.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from rsd_planner.simulation import cars, people
from rsd_planner.simulation.barriers import obstacle
from rsd_planner.simulation.classes import HAZARD_CLASSES, PixelClass
from rsd_planner.simulation.mesh import Mesh
from rsd_planner.simulation.people import Figure, Limb
from rsd_planner.simulation.scene import (
    Drive,
    Obstacle,
    Pedestrian,
    Snapshot,
    Vehicle,
)
from rsd_planner.simulation.stage import Eye, Pair, Stage

__all__ = ["FLASHES_HZ", "Actors", "is_flash"]

FLASHES_HZ = 1.5
_LIT_SHARE = 0.75  # of four pictures 0.2 s apart at most two are dark
_SHADOW_ORDER = 20  # above every layer of the ground
_FULL_PACE_MPS = 1.0
_SIGHT_M = 200.0
_RADIUS_M = 5.0  # of the longest vehicle
_SIDES = {"left": (1,), "right": (-1,), "both": (1, -1)}


def is_flash(time_s: float) -> bool:
    """Whether flashing lamps are lit at this time."""
    return (time_s * FLASHES_HZ) % 1.0 < _LIT_SHARE


@dataclass
class _Actor:
    """One of them on the stage."""

    root: Pair
    parts: list[Pair]  # all that carry colour, for the fog
    brake: dict[bool, Pair] = field(default_factory=dict)  # a parked vehicle has no lit ones
    indicators: dict[int, Pair] = field(default_factory=dict)
    limbs: list[tuple[Limb, Pair]] = field(default_factory=list)
    stride_m: float = 1.0
    at_m: tuple[float, float] = (0.0, 0.0)
    shown: tuple[bool, bool] = (True, True)  # in the picture, in the label


class Actors:
    """Keeps the stage in step with the snapshots of one drive."""

    def __init__(self, stage: Stage, drive: Drive) -> None:
        self._stage = stage
        self._standing = {vehicle.vehicle_id: vehicle for vehicle in drive.parked}
        self._obstacles = {thing.obstacle_id: thing for thing in drive.obstacles}
        self._actors: dict[str, _Actor] = {}
        for vehicle in drive.parked:
            self._place_vehicle(vehicle, PixelClass.PARKED_VEHICLE, False, False)
        for thing in drive.obstacles:
            self._place_obstacle(thing)
        self._marked: set[str] = set()
        self._in_sight: list[_Actor] = []

    def show(self, snapshot: Snapshot, eye: Eye) -> None:
        """Moves, lights and labels all actors, and hides those that the eye cannot see."""
        hazards: dict[str, PixelClass] = {}
        for hazard in snapshot.hazards:
            for actor_id in hazard.actor_ids:
                hazards.setdefault(actor_id, HAZARD_CLASSES[hazard.kind])
        flash = is_flash(snapshot.time_s)
        present = set(self._standing) | set(self._obstacles)
        lead = snapshot.lead.vehicle_id if snapshot.lead else None
        for vehicle in snapshot.vehicles:
            own = PixelClass.LEAD_VEHICLE if vehicle.vehicle_id == lead else _class_of(vehicle)
            kind = hazards.get(vehicle.vehicle_id, own)
            self._place_vehicle(vehicle, kind, vehicle.vehicle_id == lead, flash)
            present.add(vehicle.vehicle_id)
        for person in snapshot.pedestrians:
            kind = hazards.get(person.person_id, PixelClass.PEDESTRIAN)
            self._place_person(person, kind)
            present.add(person.person_id)
        self._update_standing(hazards, flash)
        for name in [n for n in self._actors if n not in present]:
            self._actors.pop(name).root.remove()
        self._hide_unseen(eye)

    def fog(self, eye: Eye) -> None:
        """Paints the fog over all actors that `show` has left in sight."""
        for actor in self._in_sight:
            at = np.array(actor.at_m)
            for part in actor.parts:
                if not part.seen.isHidden():
                    self._stage.fog(part, eye.at_m, at)

    def _hide_unseen(self, eye: Eye) -> None:
        """In fog only the picture misses what is far away; the label knows no weather."""
        actors = list(self._actors.values())
        places = np.array([actor.at_m for actor in actors]).reshape(-1, 2)
        labelled = eye.sees(places, _RADIUS_M, _SIGHT_M)
        seen = labelled & eye.sees(places, _RADIUS_M, self._stage.sight_m)
        self._in_sight = []
        for actor, in_label, in_picture in zip(actors, labelled, seen, strict=True):
            shown = bool(in_picture), bool(in_label)
            if shown != actor.shown:
                actor.root.seen.show() if in_picture else actor.root.seen.hide()
                actor.root.label.show() if in_label else actor.root.label.hide()
                actor.shown = shown
            if in_picture:
                self._in_sight.append(actor)

    def _update_standing(self, hazards: dict[str, PixelClass], flash: bool) -> None:
        """Standing things change only their label and their flashing lamps."""
        marked = {name for name in hazards if name in self._standing or name in self._obstacles}
        for name in marked | self._marked:
            own = PixelClass.PARKED_VEHICLE if name in self._standing else PixelClass.CONE
            self._actors[name].root.set_class(hazards.get(name, own))
        self._marked = marked
        for name, vehicle in self._standing.items():
            if vehicle.indicator:
                self._flash(self._actors[name], vehicle, flash)

    def _place_vehicle(self, vehicle: Vehicle, kind: PixelClass, lead: bool, flash: bool) -> None:
        actor = self._actors.get(vehicle.vehicle_id)
        if actor is None:
            actor = self._actors[vehicle.vehicle_id] = self._make_vehicle(vehicle)
        actor.root.place(vehicle.x_m, vehicle.y_m, vehicle.yaw_rad)
        actor.at_m = (vehicle.x_m, vehicle.y_m)
        actor.root.set_class(kind)
        self._move_limbs(actor, vehicle)
        if vehicle.kind == "cyclist":
            return
        if True in actor.brake:
            for lit, lamps in actor.brake.items():
                lamps.show(lit is vehicle.brake_lamp)
            lamp = PixelClass.LEAD_BRAKE_LAMP_ON if lead else PixelClass.BRAKE_LAMP_ON
            actor.brake[True].set_class(lamp)
        self._flash(actor, vehicle, flash)

    def _flash(self, actor: _Actor, vehicle: Vehicle, flash: bool) -> None:
        sides = _SIDES.get(vehicle.indicator, ()) if flash else ()
        for side in sides:
            if side not in actor.indicators:
                mesh = cars.indicator(vehicle.kind, _size(vehicle), side)
                pair = self._stage.attach(mesh, "indicator", actor.root)
                pair.set_class(PixelClass.INDICATOR_ON)
                actor.indicators[side] = pair
                actor.parts.append(pair)
        for side, pair in actor.indicators.items():
            pair.show(side in sides)

    def _place_person(self, person: Pedestrian, kind: PixelClass) -> None:
        actor = self._actors.get(person.person_id)
        if actor is None:
            figure = people.pedestrian(person.height_m, person.colour_rgb)
            actor = self._actors[person.person_id] = self._make_figure(figure, (0.7, 0.7, 1.7))
        actor.root.place(person.x_m, person.y_m, person.yaw_rad)
        actor.at_m = (person.x_m, person.y_m)
        actor.root.set_class(kind)
        self._move_limbs(actor, person)

    def _move_limbs(self, actor: _Actor, mover: Vehicle | Pedestrian) -> None:
        """The way walked is read off the place, so that a snapshot alone makes the picture."""
        way = mover.x_m * np.cos(mover.yaw_rad) + mover.y_m * np.sin(mover.yaw_rad)
        pace = min(1.0, mover.speed_mps / _FULL_PACE_MPS)
        for limb, pair in actor.limbs:
            pair.swing(people.swing_deg(limb, actor.stride_m, float(way), pace))

    def _place_obstacle(self, thing: Obstacle) -> None:
        actor = self._make([obstacle(thing.kind)], (0.6, 0.6, 0.9), thing.obstacle_id)
        self._actors[thing.obstacle_id] = actor
        actor.root.place(thing.x_m, thing.y_m, thing.yaw_rad)
        actor.at_m = (thing.x_m, thing.y_m)

    def _make_vehicle(self, vehicle: Vehicle) -> _Actor:
        size, look = _size(vehicle), self._stage.look
        if vehicle.kind == "cyclist":
            return self._make_figure(people.cyclist(vehicle.colour_rgb), size)
        driven = not vehicle.parked
        body = cars.body(vehicle.kind, size, vehicle.colour_rgb, 0.5 * look.sun, driven)
        actor = self._make([body], size, vehicle.vehicle_id)
        for lit in (True, False) if driven else (False,):
            mesh = cars.brake_lamps(vehicle.kind, size, lit, look.night and driven)
            actor.brake[lit] = self._stage.attach(mesh, "brake", actor.root)
            actor.parts.append(actor.brake[lit])
        return actor

    def _make_figure(self, figure: Figure, size: cars.Size) -> _Actor:
        actor = self._make([figure.body], size, "figure")
        actor.stride_m = figure.stride_m
        for limb in figure.limbs:
            pair = self._stage.attach(limb.mesh, "limb", actor.root)
            for node in (pair.seen, pair.label):
                node.setPos(*limb.pivot_m)
            actor.limbs.append((limb, pair))
            actor.parts.append(pair)
        return actor

    def _make(self, meshes: Iterable[Mesh], size: cars.Size, name: str) -> _Actor:
        root = self._stage.group(name)
        shadow = self._stage.attach(cars.shadow(size), "shadow", root)
        shadow.paint_in_order(_SHADOW_ORDER)
        shadow.label.hide()
        parts = [shadow, *(self._stage.attach(mesh, "body", root) for mesh in meshes)]
        return _Actor(root, parts)


def _size(vehicle: Vehicle) -> cars.Size:
    return vehicle.length_m, vehicle.width_m, vehicle.height_m


def _class_of(vehicle: Vehicle) -> PixelClass:
    if vehicle.kind == "cyclist":
        return PixelClass.CYCLIST
    return PixelClass.PARKED_VEHICLE if vehicle.parked else PixelClass.VEHICLE
