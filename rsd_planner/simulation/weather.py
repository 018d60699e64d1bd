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
_BLOOM_ABOVE = 190  # grey levels that outshine their surroundings at dusk
_BLOOM = 0.8
_BLOOM_SHRINK = 4
_HEADLIGHTS = 1.4  # how much the ego's own lamps add to what is dark and before it
_OUTSHONE = 150  # grey level from which on they add nothing
_STREAK_BANK = 12  # different showers, used in an order drawn by the seed
_STREAKS = 260
_STREAK_ALPHA = 70

_LEVELS = np.arange(256)
_DARK = (_LEVELS * np.clip(1.0 - _LEVELS / _OUTSHONE, 0.0, 1.0)).astype(np.uint8)


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
        (158, 163, 168), (108, 114, 122), (120, 128, 132), 0.1, (0.8, 0.82, 0.86), wet=0.68
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

    def __init__(self, weather: Weather, exposure: float, seed: int, size: tuple[int, int]) -> None:
        self._seed = seed
        self._exposure = np.clip(_LEVELS * exposure, 0, 255).astype(np.uint8)
        self._exposed = exposure == 1.0
        self._showers = _showers(seed, size) if weather is Weather.RAIN else []
        self._dusk = weather is Weather.DUSK
        self._headlights = _headlights(size)

    def __call__(
        self, image: NDArray[np.uint8], time_s: float, yaw_deg: float
    ) -> NDArray[np.uint8]:
        """The finished picture (height, width, 3) RGB of the camera that looks to `yaw_deg`."""
        if self._dusk:
            if yaw_deg == 0.0:
                dark = cv2.LUT(image, _DARK)
                added = cv2.multiply(dark, self._headlights, dtype=cv2.CV_8U)
                image = cv2.add(image, added)  # type: ignore[assignment]
            image = _bloom(image)
        if self._showers:
            rng = np.random.default_rng([self._seed, round(1000 * time_s), round(yaw_deg) % 360])
            shower = self._showers[int(rng.integers(len(self._showers)))]
            shower = np.roll(shower, int(rng.integers(shower.shape[1])), axis=1)
            image = cv2.add(image, shower)  # type: ignore[assignment]
        if not self._exposed:
            image = cv2.LUT(image, self._exposure)  # type: ignore[assignment]
        return image


def _bloom(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bright lamps shine into their surroundings."""
    height, width = image.shape[:2]
    size = (width // _BLOOM_SHRINK, height // _BLOOM_SHRINK)
    peaks = cv2.threshold(image, _BLOOM_ABOVE, 255, cv2.THRESH_TOZERO)[1]
    small = cv2.resize(peaks, size, interpolation=cv2.INTER_AREA)
    soft = cv2.resize(cv2.GaussianBlur(small, (0, 0), 2.5), (width, height))
    return cv2.addWeighted(image, 1.0, soft, _BLOOM, 0.0).astype(np.uint8, copy=False)


def _headlights(size: tuple[int, int]) -> NDArray[np.float32]:
    """How much of what is dark the ego's lamps add to each pixel of the front camera."""
    width, height = size
    x = (np.arange(width) - width / 2) / (0.46 * width)
    y = (np.arange(height) - 0.54 * height) / (0.32 * height)
    y = np.where(y < 0, 1.7 * y, y)
    pool = np.exp(-(x[None, :] ** 2) * 1.6 - y[:, None] ** 2)
    return np.repeat(_HEADLIGHTS * pool[:, :, None], 3, axis=2).astype(np.float32)


def _showers(seed: int, size: tuple[int, int]) -> list[NDArray[np.uint8]]:
    """Falling drops as pictures (height, width, 3) to be added."""
    rng = np.random.default_rng([seed, 5])
    width, height = size
    slant = float(rng.uniform(-0.25, 0.25))
    showers: list[NDArray[np.uint8]] = []
    for _ in range(_STREAK_BANK):
        shower = np.zeros((height, width, 3), np.uint8)
        for x, y, nearness, light in rng.random((_STREAKS, 4)):
            long = 8 + 26 * nearness**2
            a = int(x * width), int(y * height)
            b = int(a[0] + slant * long), int(a[1] + long)
            level = int(_STREAK_ALPHA * (0.35 + 0.65 * light))
            cv2.line(shower, a, b, (level, level, level), 1, cv2.LINE_AA)
        showers.append(shower)
    return showers
