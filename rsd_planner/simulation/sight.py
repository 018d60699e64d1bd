"""What the picture of an instant shows of what the expert heeds: the narrator's view."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.network import load_network
from rsd_planner.simulation.scene import Drive, Hazard, HazardKind, LightState, Snapshot
from rsd_planner.simulation.view import HazardView, LeadView, LightView, View
from rsd_planner.simulation.weather import visibility_of

__all__ = ["view_of"]

_NEXT_S = 0.7
_CLEAR_SHARE = 0.55  # of the visibility; a seventh of the contrast is left there
_MIN_LEAD_PIXELS = 24
_MIN_LIGHT_PIXELS = 6
_MIN_LAMP_PIXELS = 4
_LEAD_SIGHT_M = 70.0
_LIGHT_SIGHT_M = 70.0
_CURVE_SIGHT_M = 50.0
# What was seen an instant ago is still seen at a little less: limbs swing, lamps flicker.
_STILL_SEEN = 0.6
_STILL_SEEN_M = 2.0
_LIT = {
    LightState.RED: PixelClass.LIGHT_RED,
    LightState.AMBER: PixelClass.LIGHT_AMBER,
    LightState.GREEN: PixelClass.LIGHT_GREEN,
}
# The class that shows a hazard, the least pixels of it (of 256 × 128) and how far it is seen. Who
# looks at stills can name people and cyclists from some ten pixels of height on.
_SHOWN: dict[HazardKind, tuple[PixelClass, int, float]] = {
    HazardKind.PEDESTRIAN_CROSSING: (PixelClass.PEDESTRIAN_CROSSING, 45, 50.0),
    HazardKind.PEDESTRIAN_WAITING: (PixelClass.PEDESTRIAN_WAITING, 45, 40.0),
    HazardKind.CYCLIST: (PixelClass.CYCLIST_AHEAD, 45, 50.0),
    HazardKind.CUT_IN: (PixelClass.CUT_IN_VEHICLE, 36, 60.0),
    HazardKind.MERGE: (PixelClass.MERGING_VEHICLE, 36, 60.0),
    HazardKind.BLOCKED_LANE: (PixelClass.BLOCKING_VEHICLE, 45, 60.0),
    HazardKind.CONES: (PixelClass.CONE_IN_LANE, 20, 50.0),
    HazardKind.ONCOMING: (PixelClass.ONCOMING_VEHICLE, 60, 70.0),
    HazardKind.CROSS_TRAFFIC: (PixelClass.CROSSING_VEHICLE, 36, 60.0),
}

_NOTHING = View(0.0, 0.0)


def view_of(
    drive: Drive, shot: Snapshot, classes: NDArray[np.uint8], before: View = _NOTHING
) -> View:
    """What can be seen in the picture of a snapshot, and what the expert does next.

    `classes` is the (height, width) id picture of the snapshot; `before` is what was seen an
    instant earlier.
    """
    pixels = np.bincount(classes.reshape(-1), minlength=len(PixelClass))
    sight_m = _CLEAR_SHARE * visibility_of(drive.weather)
    kinds = {v.vehicle_id: v.kind for v in (*drive.parked, *shot.vehicles)}
    soon = drive.ego.at(np.array([shot.time_s, shot.time_s + _NEXT_S]))
    speeds = soon.speed_mps
    return View(
        speed_mps=max(0.0, float(speeds[0])),
        next_acceleration_mps2=float(speeds[1] - speeds[0]) / _NEXT_S,
        lead=_lead(shot, pixels, kinds, sight_m, before.lead),
        light=_light(shot, pixels, sight_m, before.light is not None),
        hazards=_hazards(shot, pixels, kinds, sight_m, {h.kind for h in before.hazards}),
        sideways_mps=_sideways_m(drive.network, soon.position_m) / _NEXT_S,
        weather=drive.weather,
    )


def _enough(pixels: int, least: int, seen_before: bool) -> bool:
    return pixels >= least * (_STILL_SEEN if seen_before else 1.0)


def _within(distance_m: float, sight_m: float, seen_before: bool) -> bool:
    return distance_m < sight_m + (_STILL_SEEN_M if seen_before else 0.0)


def _lead(
    shot: Snapshot,
    pixels: NDArray[np.int64],
    kinds: dict[str, str],
    sight_m: float,
    before: LeadView | None,
) -> LeadView | None:
    lead, seen_before = shot.lead, before is not None
    if lead is None or not _within(lead.gap_m, min(sight_m, _LEAD_SIGHT_M), seen_before):
        return None
    if any(lead.vehicle_id in hazard.actor_ids for hazard in shot.hazards):
        return None  # it is told as that
    lamps = int(pixels[PixelClass.LEAD_BRAKE_LAMP_ON])
    if not _enough(pixels[PixelClass.LEAD_VEHICLE] + lamps, _MIN_LEAD_PIXELS, seen_before):
        return None
    lit_before = before is not None and before.braking
    lit = _enough(lamps, _MIN_LAMP_PIXELS, lit_before)
    return LeadView(kinds[lead.vehicle_id], lead.gap_m, lead.speed_mps, lit)


def _light(
    shot: Snapshot, pixels: NDArray[np.int64], sight_m: float, seen_before: bool
) -> LightView | None:
    ahead = shot.light_ahead
    if ahead is None or not _within(ahead.distance_m, min(sight_m, _LIGHT_SIGHT_M), seen_before):
        return None
    if not _enough(pixels[_LIT[ahead.state]], _MIN_LIGHT_PIXELS, seen_before):
        return None
    return LightView(ahead.state, ahead.distance_m)


def _hazards(
    shot: Snapshot,
    pixels: NDArray[np.int64],
    kinds: dict[str, str],
    sight_m: float,
    before: set[HazardKind],
) -> tuple[HazardView, ...]:
    seen: dict[HazardKind, HazardView] = {}
    for hazard in shot.hazards:
        if hazard.kind not in seen and _is_seen(hazard, pixels, sight_m, hazard.kind in before):
            actor = next((kinds[i] for i in hazard.actor_ids if i in kinds), "")
            distance = max(0.0, hazard.distance_m)
            seen[hazard.kind] = HazardView(
                hazard.kind, distance, hazard.side, hazard.speed_mps, actor
            )
    return tuple(sorted(seen.values(), key=lambda h: h.distance_m))


def _is_seen(hazard: Hazard, pixels: NDArray[np.int64], sight_m: float, seen_before: bool) -> bool:
    if hazard.kind is HazardKind.CURVE:
        return _within(hazard.distance_m, min(sight_m, _CURVE_SIGHT_M), seen_before)
    shown_as, least, farthest_m = _SHOWN[hazard.kind]
    near = _within(hazard.distance_m, min(sight_m, farthest_m), seen_before)
    return near and _enough(int(pixels[shown_as]), least, seen_before)


def _sideways_m(network: str, positions: NDArray[np.float64]) -> float:
    """How far a second position is to the left of a first one, across the road."""
    path = load_network(network).path
    along, before = path.nearest(positions[0])
    _, after = path.nearest(positions[1], along - 10.0, along + 50.0)
    return after - before
