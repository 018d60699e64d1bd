"""The few colours of the project, one meaning each.

Blue and orange stay apart for every common kind of colour blindness and keep a contrast of at
least 3:1 on black and on white. Colour is never the only sign: deliberative text is bold too.
"""

from __future__ import annotations

from rsd_planner.types import PlanSource

__all__ = ["DELIBERATIVE", "PATH", "ROUTINE", "bgr", "rgb"]

ROUTINE = "#2F86D6"  # a token that a draft brought and the target accepted
DELIBERATIVE = "#D9730D"  # a token that the target chose itself

PATH = {
    PlanSource.MODEL: "#12B886",
    PlanSource.LAST_VALID: "#E0C341",
    PlanSource.SAFE_STOP: "#CC79A7",
}


def rgb(colour: str) -> tuple[int, int, int]:
    """Red, green and blue of `#rrggbb`, each 0 to 255."""
    value = int(colour.removeprefix("#"), 16)
    return value >> 16, value >> 8 & 255, value & 255


def bgr(colour: str) -> tuple[int, int, int]:
    """Blue, green and red of `#rrggbb`: the order that OpenCV draws in."""
    red, green, blue = rgb(colour)
    return blue, green, red
