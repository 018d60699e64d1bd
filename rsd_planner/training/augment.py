"""Pictures varied so that what is learned is the things, not the places where they were seen.

A set of drives holds a hundred events of a kind, each before one background; a tower that sees
them as they are learns the backgrounds by heart. Here pictures are mirrored, cropped and moved,
things of one are pasted into another at the same place (copy-paste, Ghiasi et al. 2021), and
one gets the houses, trees and sky of another; what patches and the whole picture show follows
from the class pictures, which are changed alike.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.classes import HAZARD_CLASSES, PixelClass, patch_bits
from rsd_planner.training.data import DriveSet, Label

__all__ = ["Augmenter", "Scenes"]

_MOST_ZOOM, _LEAST_ZOOM = 1.35, 0.9
_MOST_SHIFT = (0.08, 0.06)  # of the width and the height
_PASTED_SHARE = 0.5
_MIRRORED_SHARE = 0.5
_SURROUNDED_SHARE = 0.5
_LOST = 0.5  # a thing of which less is left says nothing of itself any more
# What names start the labels that tell of a thing, and the classes that show it.
_SHOWN_BY: dict[str, tuple[PixelClass, ...]] = {
    **{kind.value: (shown,) for kind, shown in HAZARD_CLASSES.items()},
    "lead": (PixelClass.LEAD_VEHICLE, PixelClass.LEAD_BRAKE_LAMP_ON),
    "light": (PixelClass.LIGHT_RED, PixelClass.LIGHT_AMBER, PixelClass.LIGHT_GREEN),
}
# Things that mean the same wherever the road goes. The others need the crossing, junction or
# passage around them.
_PASTED_CAUSES = ("pedestrian_crossing", "cyclist", "cut_in", "blocked_lane", "cones")
# No causes: that something was pasted must not tell that it is one.
_PASTED_OTHERS = (
    PixelClass.VEHICLE,
    PixelClass.PARKED_VEHICLE,
    PixelClass.CYCLIST,
    PixelClass.CONE,
    PixelClass.PEDESTRIAN,
)
# What tells these from a vehicle on its way flashes, and is dark in a part of the pictures.
_FLASHING = ("blocked_lane", "cut_in")
_SURROUNDINGS = np.array(
    [
        PixelClass.SKY,
        PixelClass.GROUND,
        PixelClass.BUILDING,
        PixelClass.VEGETATION,
        PixelClass.SIGN,
    ],
    np.uint8,
)
_LAMPS = np.array([PixelClass.BRAKE_LAMP_ON, PixelClass.INDICATOR_ON], np.uint8)


@dataclass
class Scenes:
    """Pictures with what they show."""

    images: NDArray[np.uint8]  # (batch, height, width, 3) RGB
    classes: NDArray[np.uint8]  # (batch, height, width)
    labels: NDArray[np.float32]  # (batch, labels), NaN where unknown

    @property
    def bits(self) -> NDArray[np.uint32]:
        """(batch, rows, columns) bit k: class k is in the patch."""
        return patch_bits(self.classes)


class Augmenter:
    """Reads pictures of a drive set and varies them."""

    def __init__(self, data: DriveSet) -> None:
        self._data = data
        table = data.label_table
        self._classes = {name: np.array(shown, np.uint8) for name, shown in _SHOWN_BY.items()}
        self._columns = {name: _columns(table, name) for name in _SHOWN_BY}
        self._causes = {x.name: k for k, x in enumerate(table) if x.name in _SHOWN_BY}
        self._free = [k for k, x in enumerate(table) if x.name == "road_free"]
        self._sides = [k for k, x in enumerate(table) if x.name.endswith("_side")]
        self._distances = [k for k, x in enumerate(table) if x.name.endswith("_distance_m")]
        self._weathers = np.array([drive.weather for drive in data.drives])[data.drive]

    def plain(self, frames: NDArray[np.int64]) -> Scenes:
        """The pictures as they are."""
        scenes = self._read(frames)
        self._forget_dark(scenes)
        return scenes

    def varied(self, frames: NDArray[np.int64], rng: np.random.Generator) -> Scenes:
        """The pictures with things of each other in them, mirrored, cropped and moved."""
        plain = self._read(frames)
        scenes = Scenes(plain.images.copy(), plain.classes.copy(), plain.labels.copy())
        weathers = self._weathers[frames]
        for i in range(len(frames)):
            donors = np.flatnonzero(weathers == weathers[i])
            if rng.random() < _SURROUNDED_SHARE:
                self._surround(plain, int(rng.choice(donors)), scenes, i)
            if rng.random() < _PASTED_SHARE:
                self._paste(plain, int(rng.choice(donors)), scenes, i, rng)
            before = _count(scenes.classes[i])
            zoom = self._move(scenes, i, rng)
            after = _count(scenes.classes[i])
            self._forget_lost(scenes.labels[i], before * zoom**2, after)
            if rng.random() < _MIRRORED_SHARE:
                scenes.images[i] = scenes.images[i, :, ::-1]
                scenes.classes[i] = scenes.classes[i, :, ::-1]
                scenes.labels[i, self._sides] *= -1
        self._forget_dark(scenes)
        return scenes

    def _read(self, frames: NDArray[np.int64]) -> Scenes:
        data = self._data
        return Scenes(data.pictures(frames), data.pixel_classes(frames), data.labels[frames])

    def _surround(self, plain: Scenes, donor: int, scenes: Scenes, i: int) -> None:
        """Give picture `i` the houses, trees and sky of another, where both have some."""
        mask = _among(plain.classes[donor], _SURROUNDINGS) & _among(
            scenes.classes[i], _SURROUNDINGS
        )
        _take(plain, donor, scenes, i, mask)

    def _paste(
        self, plain: Scenes, donor: int, scenes: Scenes, i: int, rng: np.random.Generator
    ) -> None:
        """Put something of another picture into picture `i`."""
        present = set(np.flatnonzero(_count(plain.classes[donor])).tolist())
        causes = [
            name
            for name in _PASTED_CAUSES
            if name in self._causes
            and plain.labels[donor, self._causes[name]] > 0.5
            and present.intersection(self._classes[name].tolist())
        ]
        others = [kind for kind in _PASTED_OTHERS if kind in present]
        if donor == i or not (causes or others):
            return
        before = _count(scenes.classes[i])
        if causes and (not others or rng.random() < 0.6):
            name = causes[int(rng.integers(len(causes)))]
            self._copy(plain, donor, scenes, i, self._classes[name])
            columns = self._columns[name]
            scenes.labels[i, columns] = plain.labels[donor, columns]
            scenes.labels[i, self._free] = 0.0
            before[self._classes[name]] = 0  # it is known
        else:
            kind = others[int(rng.integers(len(others)))]
            self._copy(plain, donor, scenes, i, np.array([kind], np.uint8))
        after = _count(scenes.classes[i])
        self._forget_lost(scenes.labels[i], before, after)

    def _copy(
        self, plain: Scenes, donor: int, scenes: Scenes, i: int, kinds: NDArray[np.uint8]
    ) -> None:
        """All of some classes, with the lamps among them."""
        there = plain.classes[donor]
        mask = _among(there, kinds)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        mask[box] |= _among(there[box], _LAMPS)
        _take(plain, donor, scenes, i, mask)

    def _move(self, scenes: Scenes, i: int, rng: np.random.Generator) -> float:
        """Zoom and shift picture `i`; returns the zoom."""
        height, width = scenes.classes.shape[1:]
        zoom = float(np.exp(rng.uniform(np.log(_LEAST_ZOOM), np.log(_MOST_ZOOM))))
        shift = rng.uniform(-1, 1, 2) * _MOST_SHIFT * (width, height)
        centre = np.array([width, height]) / 2
        matrix = np.column_stack([zoom * np.eye(2), centre + shift - zoom * centre])
        for images, how in ((scenes.images, cv2.INTER_LINEAR), (scenes.classes, cv2.INTER_NEAREST)):
            images[i] = cv2.warpAffine(
                images[i], matrix, (width, height), flags=how, borderMode=cv2.BORDER_REFLECT_101
            )
        far = scenes.labels[i, self._distances]
        scenes.labels[i, self._distances] = np.log1p(np.expm1(far) / zoom)
        return zoom

    def _forget_lost(
        self, labels: NDArray[np.float32], before: NDArray[Any], after: NDArray[np.int64]
    ) -> None:
        """Of what is covered or outside now nothing is known."""
        for name, kinds in self._classes.items():
            had = before[kinds].sum()
            if had > 0 and after[kinds].sum() < _LOST * had:
                labels[self._columns[name]] = np.nan

    def _forget_dark(self, scenes: Scenes) -> None:
        """A picture in which the lamps are dark between two flashes cannot tell what flashes.

        Asked all the same, the tower would take what stands or drives there for a hazard.
        """
        counts = np.stack([_count(classes) for classes in scenes.classes])
        dark = counts[:, PixelClass.INDICATOR_ON] == 0
        for name in _FLASHING:
            if name in self._causes:
                shown = counts[:, self._classes[name]].any(axis=1)
                scenes.labels[dark & shown, self._causes[name]] = np.nan


def _take(plain: Scenes, donor: int, scenes: Scenes, i: int, mask: NDArray[np.bool_]) -> None:
    """The pixels of `mask` in picture `i` become those of the donor."""
    scenes.images[i][mask] = plain.images[donor][mask]
    scenes.classes[i][mask] = plain.classes[donor][mask]


def _among(classes: NDArray[np.uint8], kinds: NDArray[np.uint8]) -> NDArray[np.bool_]:
    table = np.zeros(256, np.bool_)
    table[kinds] = True
    return table[classes]


def _count(classes: NDArray[np.uint8]) -> NDArray[np.int64]:
    """(kinds,) pixels of each class."""
    counted = cv2.calcHist([classes], [0], None, [len(PixelClass)], [0, len(PixelClass)])
    return np.asarray(counted).ravel().astype(np.int64)


def _columns(table: Iterable[Label], name: str) -> list[int]:
    """The labels that tell of a thing."""
    told = [k for k, label in enumerate(table) if label.name == name]
    return told + [k for k, x in enumerate(table) if x.name.startswith(f"{name}_")]
