"""The classes of the flat id picture, which says for every pixel what is seen there."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["CLASS_STEP", "PixelClass"]

CLASS_STEP = 8  # grey levels between two classes in the drawn id picture


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
