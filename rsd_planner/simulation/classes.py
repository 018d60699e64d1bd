"""The classes of the flat id picture, which says for every pixel what is seen there."""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.scene import HazardKind

__all__ = ["CLASS_STEP", "HAZARD_CLASSES", "PixelClass", "patch_bits"]

CLASS_STEP = 8  # grey levels between two classes in the drawn id picture
_PATCH_PX = 16
_MIN_PATCH_PIXELS = 3


class PixelClass(IntEnum):
    """What a pixel shows. Bit k of a patch's label stands for class k."""

    SKY = 0
    GROUND = 1
    ROAD = 2
    MARKING = 3
    STOP_LINE = 4
    BUILDING = 5
    VEGETATION = 6
    POLE = 7
    VEHICLE = 8
    LEAD_VEHICLE = 9
    PARKED_VEHICLE = 10
    BRAKE_LAMP_ON = 11  # of any vehicle but the lead
    LEAD_BRAKE_LAMP_ON = 12
    LIGHT_RED = 13  # of the light that governs the ego
    LIGHT_AMBER = 14
    LIGHT_GREEN = 15
    LIGHT_HOUSING = 16
    OTHER_LIGHT = 17  # lit, but for someone else or for later
    PEDESTRIAN = 18  # walking along, or otherwise no cause
    PEDESTRIAN_CROSSING = 19
    PEDESTRIAN_WAITING = 20  # at the kerb, about to cross
    CYCLIST = 21  # no cause
    CYCLIST_AHEAD = 22  # in the ego's lane, next in line
    CUT_IN_VEHICLE = 23
    MERGING_VEHICLE = 24
    BLOCKING_VEHICLE = 25  # stands in the ego's lane
    CONE = 26  # off the ego's lane
    CONE_IN_LANE = 27
    ONCOMING_VEHICLE = 28  # in a passage too narrow for two
    CROSSING_VEHICLE = 29  # has the right of way at the junction ahead
    INDICATOR_ON = 30  # a flashing turn indicator or hazard light
    SIGN = 31  # the last bit of a patch's label


HAZARD_CLASSES = {
    HazardKind.PEDESTRIAN_CROSSING: PixelClass.PEDESTRIAN_CROSSING,
    HazardKind.PEDESTRIAN_WAITING: PixelClass.PEDESTRIAN_WAITING,
    HazardKind.CYCLIST: PixelClass.CYCLIST_AHEAD,
    HazardKind.CUT_IN: PixelClass.CUT_IN_VEHICLE,
    HazardKind.MERGE: PixelClass.MERGING_VEHICLE,
    HazardKind.BLOCKED_LANE: PixelClass.BLOCKING_VEHICLE,
    HazardKind.CONES: PixelClass.CONE_IN_LANE,
    HazardKind.ONCOMING: PixelClass.ONCOMING_VEHICLE,
    HazardKind.CROSS_TRAFFIC: PixelClass.CROSSING_VEHICLE,
}


def patch_bits(classes: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Which classes have at least three pixels under each patch, as bits.

    `classes` is (…, height, width); the result is (…, height / 16, width / 16).
    """
    *several, height, width = classes.shape
    rows, columns = height // _PATCH_PX, width // _PATCH_PX
    blocks = classes.reshape(-1, rows, _PATCH_PX, columns, _PATCH_PX)
    place = np.arange(len(blocks) * rows * columns).reshape(-1, rows, 1, columns, 1)
    bins = place * len(PixelClass) + blocks
    pixels = np.bincount(bins.ravel(), minlength=place.size * len(PixelClass))
    enough = pixels.reshape(*several, rows, columns, len(PixelClass)) >= _MIN_PATCH_PIXELS
    return (enough << np.arange(len(PixelClass), dtype=np.uint32)).sum(axis=-1, dtype=np.uint32)
