"""What the weather does to a picture: light, sky, fog, rain, and how far one can see.

Everything follows from the weather, the drive's seed and the time, so the same snapshot gives the
same picture. The id picture knows no weather; `visibility_of` says what of it cannot be seen.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.mesh import Colour
from rsd_planner.simulation.scene import Weather

__all__ = ["Finish", "Look", "look_of", "visibility_of"]

_GROUND = (PixelClass.ROAD, PixelClass.GROUND, PixelClass.MARKING, PixelClass.STOP_LINE)
_WINDOW_LIGHT = np.array([250.0, 200.0, 120.0])
_LIT_WINDOWS = 0.4
_CONTRAST_LEFT = 0.03  # of what is as far as the visibility


@dataclass(frozen=True)
class Look:
    """Light and colours of a kind of weather."""

    horizon: Colour
    zenith: Colour
    hill: Colour
    sun: float  # how much faces differ by the sun
    gain: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of everything that does not shine
    wet: float = 1.0  # factor on the ground
    night: bool = False  # lamps and windows are lit
    visibility_m: float = float("inf")

    def tone(
        self,
        colours: NDArray[np.float64],
        classes: NDArray[np.uint8],
        flat: NDArray[np.bool_],
        glow: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """The colours of quads (quads, 3) in this light; see `mesh.Tone`."""
        toned = colours * self.gain
        toned[np.isin(classes, _GROUND)] *= self.wet
        if self.night:
            panes = np.flatnonzero(flat & (classes == PixelClass.BUILDING))
            lit = np.random.default_rng(len(colours)).random(len(panes)) < _LIT_WINDOWS
            toned[panes[lit]] = _WINDOW_LIGHT
        toned[glow] = colours[glow]
        return toned

    def fog_share(self, distance_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """How much of a colour the fog has replaced, 0 to 1, at distances of any shape."""
        return 1.0 - np.exp(np.log(_CONTRAST_LEFT) * distance_m / self.visibility_m)


_LOOKS = {
    Weather.CLEAR: Look((206, 222, 236), (86, 142, 212), (150, 166, 168), 1.0),
    Weather.OVERCAST: Look((206, 210, 214), (150, 160, 172), (158, 164, 166), 0.25),
    Weather.DUSK: Look(
        (112, 100, 122), (30, 38, 74), (40, 44, 62), 0.1, (0.36, 0.39, 0.52), night=True
    ),
    Weather.FOG: Look(
        (192, 196, 199), (192, 196, 199), (192, 196, 199), 0.1, (0.9,) * 3, visibility_m=75.0
    ),
    Weather.RAIN: Look(
        (158, 163, 168), (108, 114, 122), (120, 128, 132), 0.1, (0.74, 0.76, 0.8), wet=0.72
    ),
}


def look_of(weather: Weather) -> Look:
    """The look of a kind of weather."""
    return _LOOKS[weather]


def visibility_of(weather: Weather) -> float:
    """How far the eye sees in metres; infinity where nothing but the lens limits it."""
    return _LOOKS[weather].visibility_m


class Finish:
    """What happens between the drawn picture and the camera's output."""

    def __init__(self, weather: Weather, exposure: float, seed: int) -> None:
        self._exposure = np.clip(np.arange(256) * exposure, 0, 255).astype(np.uint8)
        self._exposed = exposure == 1.0

    def __call__(
        self, image: NDArray[np.uint8], time_s: float, yaw_deg: float
    ) -> NDArray[np.uint8]:
        """The finished picture (height, width, 3) RGB of the camera that looks to `yaw_deg`."""
        if not self._exposed:
            image = cv2.LUT(image, self._exposure).astype(np.uint8, copy=False)
        return image
