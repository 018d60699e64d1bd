"""Varied pictures: what they show follows from them, whatever was mirrored, moved or pasted."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from made_drives import write_drive
from numpy.typing import NDArray

from rsd_planner.simulation.classes import PixelClass
from rsd_planner.training import augment
from rsd_planner.training.augment import Augmenter
from rsd_planner.training.data import DriveSet

LABELS = {
    "blocked_lane": "binary", "cut_in": "binary", "road_free": "binary",
    "blocked_lane_distance_m": "quantity", "blocked_lane_side": "quantity",
    "cut_in_distance_m": "quantity",
}  # fmt: skip
NAMES = tuple(LABELS)
BLOCKED = (slice(16, 24), slice(30, 42))  # of 32 × 64 pixels
RED = (255, 0, 0)
UNVARIED: dict[str, object] = {
    "_MOST_ZOOM": 1.0, "_LEAST_ZOOM": 1.0, "_MOST_SHIFT": (0.0, 0.0), "_MIRRORED_SHARE": 0.0,
    "_SURROUNDED_SHARE": 0.0, "_PASTED_SHARE": 0.0,
}  # fmt: skip


def column(name: str) -> int:
    return NAMES.index(name)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DriveSet:
    folder = tmp_path_factory.mktemp("drives")
    write_grey_drive(folder, 1)
    return DriveSet(folder)


def write_grey_drive(folder: Path, seed: int, weather: str = "clear") -> None:
    """Grey roads; on every third something red stands in the lane, with a lamp."""
    write_drive(folder, seed)
    stem = folder / f"drive_{seed:06d}"
    pictures = np.load(f"{stem}.pictures.npy")
    pictures[:] = 100
    classes = np.full(pictures.shape[:3], PixelClass.ROAD, np.uint8)
    labels = np.full((len(pictures), len(LABELS)), np.nan, np.float32)
    labels[:, :3] = 0, 0, 1
    for i in range(0, len(pictures), 3):
        pictures[i][BLOCKED] = RED
        classes[i][BLOCKED] = PixelClass.BLOCKING_VEHICLE
        classes[i, 20:22, 34:36] = PixelClass.INDICATOR_ON
        labels[i] = 1, 0, 0, np.log1p(20.0), 1, np.nan
    np.save(f"{stem}.pictures.npy", pictures)
    np.save(f"{stem}.classes.npy", classes)
    with np.load(f"{stem}.npz") as stored:
        arrays = {**stored}
    meta = json.loads(arrays["meta_json"].tobytes())
    meta |= {
        "weather": weather,
        "labels": LABELS,
        "classes": [kind.name.lower() for kind in PixelClass],
    }
    arrays["meta_json"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(f"{stem}.npz", **{**arrays, "labels": labels})


def frames(*which: int) -> NDArray[np.int64]:
    return np.array(which, np.int64)


def only(monkeypatch: pytest.MonkeyPatch, **how: object) -> None:
    """Pictures are varied in no other way."""
    for name, value in (UNVARIED | how).items():
        monkeypatch.setattr(augment, name, value)


def test_plain_pictures_are_those_of_the_shard(data: DriveSet) -> None:
    scenes = Augmenter(data).plain(frames(0, 1))
    assert np.array_equal(scenes.images, data.pictures([0, 1]))
    assert scenes.bits[0, 1, 1] >> PixelClass.BLOCKING_VEHICLE & 1
    np.testing.assert_array_equal(scenes.labels, data.labels[:2])


def test_between_two_flashes_a_picture_cannot_tell(
    data: DriveSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = data.pixel_classes

    def dark(which: Iterable[int]) -> NDArray[np.uint8]:
        classes = asked(which)
        classes[0][classes[0] == PixelClass.INDICATOR_ON] = PixelClass.BLOCKING_VEHICLE
        return classes

    monkeypatch.setattr(data, "pixel_classes", dark)
    for scenes in (
        Augmenter(data).plain(frames(0, 3, 1)),
        Augmenter(data).varied(frames(0, 3, 1), np.random.default_rng(0)),
    ):
        assert np.isnan(scenes.labels[0, column("blocked_lane")])
        assert scenes.labels[1, column("blocked_lane")] == 1.0
        assert scenes.labels[2, column("blocked_lane")] == 0.0
    assert scenes.labels[0, column("road_free")] == 0.0  # of all else it is sure


def test_the_same_numbers_vary_the_same_way(data: DriveSet) -> None:
    one, same, other = (
        Augmenter(data).varied(frames(0, 1, 2, 3), np.random.default_rng(k)) for k in (1, 1, 2)
    )
    assert np.array_equal(one.images, same.images) and np.array_equal(one.classes, same.classes)
    np.testing.assert_array_equal(one.labels, same.labels)
    assert not np.array_equal(one.images, other.images)


def test_what_is_pasted_is_named_and_the_road_is_no_longer_free(
    data: DriveSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, _PASTED_SHARE=1.0)
    pasted = 0
    for seed in range(12):
        scenes = Augmenter(data).varied(frames(0, 1), np.random.default_rng(seed))
        shown = (scenes.classes[1] == PixelClass.BLOCKING_VEHICLE).any()
        if shown:
            pasted += 1
            assert np.array_equal(scenes.images[1], data.pictures([0])[0]), "as in the other"
            assert (scenes.classes[1] == PixelClass.INDICATOR_ON).sum() == 4, "with its lamp"
            np.testing.assert_array_equal(scenes.labels[1], data.labels[0])
        else:
            np.testing.assert_array_equal(scenes.labels[1], data.labels[1])
    assert 0 < pasted < 12


def test_nothing_comes_from_another_light(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, _PASTED_SHARE=1.0)
    for seed, weather in enumerate(("overcast", "rain")):
        write_grey_drive(tmp_path, seed, weather)
    data = DriveSet(tmp_path)
    free = int(np.flatnonzero(data.drive == 1)[1])
    for seed in range(12):
        scenes = Augmenter(data).varied(frames(0, free), np.random.default_rng(seed))
        assert not (scenes.classes[1] == PixelClass.BLOCKING_VEHICLE).any()


def test_another_place_leaves_the_road_and_what_is_on_it(
    data: DriveSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, _SURROUNDED_SHARE=1.0)
    images, classes = data.pictures([0, 1]), data.pixel_classes([0, 1])
    images[1] = 200
    classes[0, :12], classes[1, :8] = PixelClass.SKY, PixelClass.BUILDING
    monkeypatch.setattr(data, "pictures", lambda which: images)
    monkeypatch.setattr(data, "pixel_classes", lambda which: classes)
    moved = 0
    for seed in range(12):
        scenes = Augmenter(data).varied(frames(0, 1), np.random.default_rng(seed))
        if (scenes.images[0] == 200).any():
            moved += 1
            assert (scenes.images[0, :8] == 200).all(), "where both have surroundings"
            assert (scenes.classes[0, :8] == PixelClass.BUILDING).all()
            assert np.array_equal(scenes.images[0, 8:], images[0, 8:])
            assert np.array_equal(scenes.classes[0, 8:], classes[0, 8:])
    assert 0 < moved < 12


def test_mirrored_pictures_have_their_sides_changed(
    data: DriveSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, _MIRRORED_SHARE=1.0)
    scenes = Augmenter(data).varied(frames(0), np.random.default_rng(0))
    assert np.array_equal(scenes.images[0], data.pictures([0])[0, :, ::-1])
    assert scenes.classes[0, 21, 64 - 35] == PixelClass.INDICATOR_ON
    assert scenes.labels[0, column("blocked_lane_side")] == -1


def test_nearer_things_are_told_nearer(data: DriveSet, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, _LEAST_ZOOM=1.25, _MOST_ZOOM=1.25)
    scenes = Augmenter(data).varied(frames(0), np.random.default_rng(0))
    distance = np.expm1(scenes.labels[0, column("blocked_lane_distance_m")])
    assert distance == pytest.approx(16.0, rel=1e-4)
    grown = np.isin(scenes.classes[0], (PixelClass.BLOCKING_VEHICLE, PixelClass.INDICATOR_ON))
    assert grown.sum() == pytest.approx(8 * 12 * 1.25**2, rel=0.15)


def test_of_what_is_out_of_the_picture_nothing_is_told(
    data: DriveSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, _MOST_SHIFT=(3.0, 3.0))
    lost = 0
    for seed in range(30):
        scenes = Augmenter(data).varied(frames(0), np.random.default_rng(seed))
        left = (scenes.classes[0] == PixelClass.BLOCKING_VEHICLE).sum()
        told = scenes.labels[0, [column("blocked_lane"), column("blocked_lane_distance_m")]]
        assert np.isnan(told).all() == (left < 46)
        lost += left < 46
    assert 0 < lost < 30
