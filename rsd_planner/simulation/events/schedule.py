"""Which events happen where on a drive: drawn one after the other along the ego's way.

A drive may begin behind a lead; then come what the lead does and how it leaves, since most other
events want a free road. A cut-in or a merge brings a new lead.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from rsd_planner.simulation.events.base import Event
from rsd_planner.simulation.events.blocks import Block, BlockedLane, NarrowPassage, SwerveAround
from rsd_planner.simulation.events.leads import LeadLeaves, LeadManners
from rsd_planner.simulation.events.neighbours import CutIn, Merge, PullOut
from rsd_planner.simulation.events.people import Crossing, Strollers
from rsd_planner.simulation.events.riders import CyclistAhead, FarRiders
from rsd_planner.simulation.events.rules import GiveWayToOthers, LightPlan, SharpCurve
from rsd_planner.simulation.events.things import ConesBeside
from rsd_planner.simulation.events.way import Stretch, Way
from rsd_planner.simulation.road import Ramp
from rsd_planner.simulation.traffic import Start

__all__ = ["draw_events"]

# How much each is wanted, by kind of road.
_MENUS: dict[str, dict[str, float]] = {
    "city": {
        "walks": 2.0, "waits": 2.8, "cyclist": 1.2, "cut_in": 4.5, "blocked": 1.8, "cones": 2.0,
    },
    "oldtown": {
        "walks": 1.9, "waits": 3.4, "cyclist": 1.0, "pull_out": 1.6, "blocked": 1.1, "cones": 1.1,
        "narrow": 1.8,
    },
    "rural": {"cyclist": 2.0, "blocked": 0.8, "cones": 0.8, "narrow": 0.6, "free": 1.2},
    "motorway": {"cut_in": 1.6, "blocked": 1.3, "cones": 1.6, "free": 0.6},
}  # fmt: skip
_GAP_M = (4.0, 20.0)
_PACE = {"city": 0.6, "oldtown": 0.65, "rural": 0.75, "motorway": 0.9}


@dataclass
class _Draft:
    """Where the drawing has got to."""

    way: Way
    rng: np.random.Generator
    limits: dict[str, float]
    at_m: float
    lane: int  # of the ego, counted from the path's
    has_lead: bool
    events: list[Event] = field(default_factory=list)
    names: int = 0

    def name(self, what: str) -> str:
        self.names += 1
        return f"{what}{self.names}"

    def speed(self, stretch: Stretch) -> float:
        """About how fast the ego gets on, stops included."""
        return _PACE[stretch.edge.kind] * self.limits[stretch.edge.kind]

    def is_beside(self, ramp: Ramp) -> bool:
        """Whether the ego is in the lane that a ramp's lane ends into."""
        beside = self.way.road.edge(ramp.beside_id)
        lane = self.lane + self.way.road.path_lanes[ramp.beside_id]
        return lane == beside.extra_lanes

    def place(self, from_m: float, before_m: float, after_m: float) -> Stretch | None:
        """Moves on to the next place that has so much of its edge around it."""
        for stretch in self.way.stretches:
            s = max(from_m, stretch.start_m + before_m)
            if s <= stretch.end_m - after_m and stretch.edge.role == "forward":
                self.at_m = s
                return stretch
        return None


def draw_events(
    way: Way, rng: np.random.Generator, limits: dict[str, float], start: Start, duration_s: float
) -> list[Event]:
    """The events of a drive that begins at `start`, in no order of importance."""
    road = way.road
    lane = start.lane - road.path_lanes[start.edge_id]
    draft = _Draft(way, rng, limits, start.s_m + 15.0, lane, start.lead_gap_m is not None)
    end_m = start.s_m + duration_s * max(limits[e.kind] for e in road.forward)
    _rules(draft, end_m)
    places = [(r.start_m, r) for r in road.ramps if r.entry and r.start_m > start.s_m + 60.0]
    while draft.at_m < min(end_m, way.length_m - 150.0):
        if places and draft.at_m > places[0][0] - 170.0:
            _, ramp = places.pop(0)
            near = draft.at_m < ramp.start_m - 20.0
            if near and draft.is_beside(ramp) and rng.random() < 0.9:
                if draft.has_lead:
                    draft.events.append(LeadLeaves(draft.at_m - 40.0, rng))
                draft.events.append(
                    Merge(draft.name("merge"), ramp.edge_id, ramp.start_m, ramp.end_m, rng)
                )
                draft.at_m = ramp.start_m + 130.0
                draft.has_lead = True
            continue
        _draw_next(draft)
    _distractors(draft, start.s_m, end_m)
    return draft.events


def _rules(draft: _Draft, end_m: float) -> None:
    road, rng = draft.way.road, draft.rng
    lights = {signal.edge_id: signal for signal in road.signals}
    for edge_id in road.route:
        if edge_id in lights:
            draft.events.append(LightPlan(lights[edge_id], road.ends_m[edge_id], rng))
    for curve in road.curves:
        speed = curve.speed_mps * float(rng.uniform(0.92, 1.08))
        draft.events.append(SharpCurve(curve, speed))
    for give_way in road.give_ways:
        draft.events.append(GiveWayToOthers(give_way, rng))


def _draw_next(draft: _Draft) -> None:
    stretch, rng = draft.way.stretch_near(draft.at_m), draft.rng
    before = draft.at_m
    if draft.has_lead:
        _with_lead(draft, stretch)
    else:
        menu = _MENUS[stretch.edge.kind]
        weights = np.array(list(menu.values()))
        choice = str(rng.choice(list(menu), p=weights / weights.sum()))
        _add_event(draft, choice, stretch)
    draft.at_m = max(draft.at_m, before + 10.0) + float(rng.uniform(*_GAP_M))


def _with_lead(draft: _Draft, stretch: Stretch) -> None:
    rng, speed = draft.rng, draft.speed(stretch)
    draft.events.append(LeadManners(draft.at_m, rng))
    draft.at_m += 5.0 * speed
    if rng.random() < 0.65:
        draft.events.append(LeadLeaves(draft.at_m, rng))
        draft.at_m += 4.0 * speed
        draft.has_lead = False


def _add_event(draft: _Draft, choice: str, stretch: Stretch) -> None:
    if choice in ("walks", "waits"):
        _add_crossing(draft, choice == "waits", stretch)
    elif choice == "cyclist":
        draft.events.append(CyclistAhead(draft.name("cyclist"), draft.at_m, draft.rng))
        draft.at_m += 60.0 + 6.0 * draft.speed(stretch)
    elif choice == "free":
        draft.at_m += 4.0 * draft.speed(stretch)
    elif choice == "cut_in":
        _add_cut_in(draft, stretch)
    elif choice == "pull_out":
        place = draft.place(draft.at_m + 4.0 * draft.speed(stretch), 40.0, 30.0)
        if place is not None and place.edge.kind in ("oldtown", "city"):
            d = draft.way.kerbs(draft.at_m)[0] - 0.7
            draft.events.append(PullOut(draft.name("pull_out"), draft.at_m, d, draft.rng))
            draft.has_lead = True
            draft.at_m += 30.0
    else:
        _add_block(draft, choice, stretch)


def _add_crossing(draft: _Draft, waits: bool, stretch: Stretch) -> None:
    rng = draft.rng
    place = draft.place(draft.at_m + 3.8 * draft.speed(stretch), 20.0, 10.0)
    if place is None or place.edge.kind not in ("city", "oldtown"):
        return
    wide = len(place.edge.lanes) > 1
    side = "left" if rng.random() < (0.0 if wide else 0.45) else "right"
    draft.events.append(Crossing(draft.name("person"), draft.at_m, side, waits, rng))
    draft.at_m += 6.0


def _add_cut_in(draft: _Draft, stretch: Stretch) -> None:
    lanes = [lane - stretch.path_lane for lane in stretch.lanes]
    sides = [
        side
        for side, lane in (("left", draft.lane + 1), ("right", draft.lane - 1))
        if lane in lanes
    ]
    if sides:
        side = str(draft.rng.choice(sides))
        draft.events.append(CutIn(draft.name("cut_in"), draft.at_m, side, draft.rng))
        draft.at_m += 8.0 * draft.speed(stretch)
        draft.has_lead = True


def _add_block(draft: _Draft, choice: str, stretch: Stretch) -> None:
    rng, cones = draft.rng, choice == "cones"
    longest = 26.0 if len(stretch.edge.lanes) > 1 or choice == "narrow" else 17.0
    length = 6.0 if choice == "blocked" else float(rng.uniform(11.0, longest))
    ahead = (4.5 if len(stretch.edge.lanes) > 1 else 4.0) * draft.speed(stretch)
    place = draft.place(draft.at_m + ahead, 38.0, length + 24.0)
    for curve in draft.way.road.curves:
        # Nobody swerves in a sharp curve.
        if curve.start_m - length - 30.0 < draft.at_m < curve.end_m + 25.0:
            place = draft.place(curve.end_m + 25.0, 38.0, length + 24.0)
    if place is None:
        return
    block = Block(draft.name(choice), draft.at_m, length, cones)
    width = place.edge.lane_width_m
    lane = draft.lane + place.path_lane
    if len(place.lanes) > 1:
        targets = [t for t in (lane + 1, lane - 1) if t in place.lanes]
        if choice == "narrow" or not targets or lane not in place.lanes:
            return
        target = int(rng.choice(targets))
        draft.events.append(BlockedLane(block, lane, target, rng))
        draft.lane = target - place.path_lane
    elif choice == "narrow":
        draft.events.append(NarrowPassage(block, rng, width))
    elif f"b{place.edge_id[1:]}" in draft.way.road.backward:
        draft.events.append(SwerveAround(block, rng, width))
    draft.at_m += length + 20.0


def _distractors(draft: _Draft, start_m: float, end_m: float) -> None:
    rng = draft.rng
    end_m = min(end_m, draft.way.length_m - 20.0)
    # Nobody walks or cycles along a motorway, which a road may lead to.
    fast = [s.start_m for s in draft.way.stretches if s.edge.kind == "motorway"]
    walked = (start_m, max(start_m, min([end_m, *(f - 30.0 for f in fast)])))
    hundreds = (walked[1] - walked[0]) / 100.0
    draft.events.append(Strollers(rng, int(rng.poisson(1.6 * hundreds)), walked))
    draft.events.append(FarRiders(rng, int(rng.poisson(0.5 * hundreds)), walked))
    cones = int(rng.poisson(0.35 * (end_m - start_m) / 100.0))
    draft.events.append(ConesBeside(rng, cones, (start_m, end_m)))
