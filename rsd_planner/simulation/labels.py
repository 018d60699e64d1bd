"""What a picture shows, read off its id picture: for the narrator and as training labels.

A cause counts as visible only if enough pixels show it and it is near enough to matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.narrator import LeadView, LightView, View
from rsd_planner.simulation.scene import Drive, LightState, Snapshot

__all__ = ["LABEL_NAMES", "LIGHT_STATES", "PATCH_PX", "image_labels", "patch_bits", "view_of"]

PATCH_PX = 16
LIGHT_STATES = ("none", "red", "amber", "green")
LABEL_NAMES = (
    "lead_visible",
    "lead_distance_m",
    "lead_braking",
    "lead_speed_mps",
    "light_state",  # index into LIGHT_STATES
    "light_distance_m",
)
_MIN_PATCH_PIXELS = 3
_MIN_LEAD_PIXELS = 24
_MIN_LIGHT_PIXELS = 6
_LEAD_SIGHT_M = 70.0
_LIGHT_SIGHT_M = 70.0
_NEXT_S = 0.7
_LIT = {
    LightState.RED: PixelClass.LIGHT_RED,
    LightState.AMBER: PixelClass.LIGHT_AMBER,
    LightState.GREEN: PixelClass.LIGHT_GREEN,
}


def view_of(drive: Drive, shot: Snapshot, classes: NDArray[np.uint8]) -> View:
    """What can be seen in the picture of a snapshot, and what the expert does next."""
    lead = None
    if shot.lead is not None and shot.lead.gap_m < _LEAD_SIGHT_M:
        kinds = [PixelClass.LEAD_VEHICLE, PixelClass.LEAD_BRAKE_LAMP_ON]
        if _count(classes, kinds) >= _MIN_LEAD_PIXELS:
            lamp = _count(classes, [PixelClass.LEAD_BRAKE_LAMP_ON]) > 0
            kind = next(v.kind for v in shot.vehicles if v.vehicle_id == shot.lead.vehicle_id)
            lead = LeadView(kind, shot.lead.gap_m, shot.lead.speed_mps, lamp)
    light = None
    ahead = shot.light_ahead
    near = ahead is not None and ahead.distance_m < _LIGHT_SIGHT_M
    if ahead is not None and near and _count(classes, [_LIT[ahead.state]]) >= _MIN_LIGHT_PIXELS:
        light = LightView(ahead.state, ahead.distance_m)
    soon = drive.ego.at(np.array([shot.time_s, shot.time_s + _NEXT_S])).speed_mps
    return View(
        speed_mps=max(0.0, float(soon[0])),
        next_acceleration_mps2=float(soon[1] - soon[0]) / _NEXT_S,
        lead=lead,
        light=light,
        bend=_bend(drive, shot.time_s),
    )


def _bend(drive: Drive, time_s: float, ahead_m: float = 30.0) -> str:
    """Whether the lane turns by more than 4 degrees within the next metres."""
    track = drive.ego
    now = int(np.searchsorted(track.time_s, time_s))
    rest = track.position_m[now:]
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(rest, axis=0), axis=1))])
    there = now + int(np.searchsorted(travelled, ahead_m))
    if there >= len(track.yaw_rad):
        return ""
    turn = float(track.yaw_rad[there] - track.yaw_rad[now])
    return "left" if turn > 0.07 else "right" if turn < -0.07 else ""


def patch_bits(classes: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Which classes have at least three pixels under each patch, as bits.

    `classes` is (height, width); the result is (height / 16, width / 16).
    """
    height, width = classes.shape
    blocks = classes.reshape(height // PATCH_PX, PATCH_PX, width // PATCH_PX, PATCH_PX)
    bits = np.zeros((height // PATCH_PX, width // PATCH_PX), dtype=np.uint32)
    for kind in np.unique(classes):
        enough = (blocks == kind).sum(axis=(1, 3)) >= _MIN_PATCH_PIXELS
        bits |= enough.astype(np.uint32) << np.uint32(kind)
    return bits


def image_labels(view: View) -> list[float]:
    lead, light = view.lead, view.light
    return [
        float(lead is not None),
        lead.gap_m if lead else 0.0,
        float(lead.braking) if lead else 0.0,
        lead.speed_mps if lead else 0.0,
        float(LIGHT_STATES.index(light.state.value)) if light else 0.0,
        light.distance_m if light else 0.0,
    ]


def _count(classes: NDArray[np.uint8], kinds: Sequence[PixelClass]) -> int:
    return int(np.isin(classes, [int(kind) for kind in kinds]).sum())
