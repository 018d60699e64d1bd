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
