"""The weather changes the picture as it should, never the id picture, and is repeatable."""

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from staged import drive_of, empty_street, person, vehicle

from rsd_planner.simulation.camera import CameraRenderer, Picture
from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.scene import CameraMount, Snapshot, Weather
from rsd_planner.simulation.weather import visibility_of

CAR = vehicle("v", "car", 15.0, brake_lamp=True, indicator="left")
SHOT = empty_street(vehicles=(CAR,), pedestrians=(person("p", 20.0, 3.0),), time_s=2.1)


def draw(shot: Snapshot, weather: Weather, seed: int = 3, exposure: float = 1.0) -> Picture:
    """One picture by a renderer of its own."""
    mount = CameraMount(exposure=exposure)
    renderer = CameraRenderer(drive_of(weather, seed=seed, mount=mount))
    picture = renderer.render(shot)
    renderer.close()
    return picture


@pytest.fixture(scope="module")
def pictures() -> Iterator[dict[Weather, Picture]]:
    yield {weather: draw(SHOT, weather) for weather in Weather}


def brightness(image: NDArray[np.uint8], rows: slice) -> float:
    """The mean grey level of some rows."""
    return float(image[rows].mean())


def test_id_picture_knows_no_weather(pictures: dict[Weather, Picture]) -> None:
    for picture in pictures.values():
        np.testing.assert_array_equal(picture.classes, pictures[Weather.CLEAR].classes)


def test_every_weather_looks_different(pictures: dict[Weather, Picture]) -> None:
    looks = [picture.image.astype(int) for picture in pictures.values()]
    for i, a in enumerate(looks):
        for b in looks[:i]:
            assert np.abs(a - b).mean() > 8


def test_dusk_is_dark_but_lamps_shine(pictures: dict[Weather, Picture]) -> None:
    dusk, clear = pictures[Weather.DUSK].image, pictures[Weather.CLEAR].image
    assert dusk.mean() < 0.65 * clear.mean()
    sky = dusk[:40].reshape(-1, 3).mean(axis=0)
    assert sky[2] > 1.2 * sky[1]
    red = (dusk[:, :, 0] > 220) & (dusk[:, :, 1] < 110)
    assert red.sum() > 100


def test_rain_falls_differently_each_time_but_the_same_at_the_same_time() -> None:
    later = empty_street(vehicles=(CAR,), pedestrians=SHOT.pedestrians, time_s=2.2)
    first, again = (draw(SHOT, Weather.RAIN).image for _ in range(2))
    np.testing.assert_array_equal(first, again)
    sky = slice(0, 60)
    assert (first[sky] != draw(later, Weather.RAIN).image[sky]).any()
    clear = [draw(shot, Weather.CLEAR).image[sky] for shot in (SHOT, later)]
    np.testing.assert_array_equal(*clear)


def test_wet_road_is_darker(pictures: dict[Weather, Picture]) -> None:
    road = slice(290, 320)
    assert brightness(pictures[Weather.RAIN].image, road) < 0.8 * brightness(
        pictures[Weather.OVERCAST].image, road
    )


def contrast_at(distance_m: float, weather: Weather) -> float:
    """How much a black van differs from what is behind it."""
    van = vehicle("v", "van", distance_m, colour_rgb=(10, 10, 10))
    with_van, without = (
        draw(empty_street(vehicles=vehicles), weather) for vehicles in ((van,), ())
    )
    rows, columns = np.nonzero(with_van.classes == PixelClass.VEHICLE)
    at = np.ix_([int(2.5 * rows.mean())], [int(2.5 * columns.mean())])
    return float(np.abs(with_van.image[at].astype(int) - without.image[at]).max())


def test_fog_takes_contrast_with_distance_and_all_of_it_in_the_end() -> None:
    near, middle, far = (contrast_at(d, Weather.FOG) for d in (12.0, 35.0, 100.0))
    assert near > 1.5 * middle > 3 * far
    assert far < 6
    assert contrast_at(35.0, Weather.OVERCAST) > 1.5 * middle


def test_only_fog_limits_the_sight(pictures: dict[Weather, Picture]) -> None:
    assert 60.0 <= visibility_of(Weather.FOG) <= 90.0
    for weather, picture in pictures.items():
        assert picture.visibility_m == visibility_of(weather)
        assert np.isfinite(picture.visibility_m) == (weather is Weather.FOG)


def test_exposure_makes_brighter_or_darker() -> None:
    levels = [draw(SHOT, Weather.CLEAR, exposure=e).image.mean() for e in (0.8, 1.0, 1.2)]
    assert levels[0] < 0.85 * levels[1]
    assert levels[2] > 1.08 * levels[1]
