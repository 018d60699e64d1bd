"""The renderer and the camera model agree on where things are, and causes can be seen."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from staged import drive_of, empty_street, obstacle, person, vehicle

from rsd_planner.simulation.actors import is_flash
from rsd_planner.simulation.camera import (
    CAMERA_NAMES,
    ID_SIZE,
    CameraRenderer,
    Picture,
    camera_model,
    front_wide_camera,
)
from rsd_planner.simulation.classes import HAZARD_CLASSES, PixelClass
from rsd_planner.simulation.scene import (
    CameraMount,
    Hazard,
    HazardKind,
    LeadCar,
    LightState,
    Snapshot,
    Vehicle,
)
from rsd_planner.types import CameraModel

PLACES = [(15.0, 0.0), (22.0, -3.0), (40.0, 4.0)]
VEHICLE_HAZARDS = (
    HazardKind.CUT_IN,
    HazardKind.MERGE,
    HazardKind.BLOCKED_LANE,
    HazardKind.ONCOMING,
    HazardKind.CROSS_TRAFFIC,
)


@pytest.fixture(scope="module")
def renderer() -> Iterator[CameraRenderer]:
    made = CameraRenderer(
        drive_of(
            obstacles=[obstacle("in_lane", "cone", 18.0), obstacle("beside", "barrier", 24.0, 8.0)],
            parked=[vehicle("parked", "van", 30.0, -8.0, parked=True, indicator="both")],
        )
    )
    yield made
    made.close()


def lead_at(ahead_m: float, left_m: float, braking: bool = False) -> tuple[Snapshot, Vehicle]:
    """A van as the lead."""
    van = vehicle("lead", "van", ahead_m, left_m, brake_lamp=braking)
    return empty_street(vehicles=(van,), lead=LeadCar("lead", ahead_m, 5.0, 0.0, braking)), van


def project(
    points_ego: NDArray[np.float64], camera: CameraModel | None = None
) -> NDArray[np.float64]:
    """Pixels (u, v) of points (n, 3) in the ego frame."""
    camera = camera or front_wide_camera()
    camera_from_ego = np.linalg.inv(camera.pose_ego_from_camera)
    points = points_ego @ camera_from_ego[:3, :3].T + camera_from_ego[:3, 3]
    u = camera.focal_x_px * points[:, 0] / points[:, 2] + camera.center_x_px
    v = camera.focal_y_px * points[:, 1] / points[:, 2] + camera.center_y_px
    return np.stack([u, v], axis=1)


def count(picture: Picture, kind: PixelClass) -> int:
    """How many pixels of the id picture show a class."""
    return int((picture.classes == kind).sum())


def middle_of_change(a: Picture, b: Picture) -> NDArray[np.float64]:
    """Where two pictures differ most, (u, v)."""
    weight = np.abs(a.image.astype(float) - b.image).sum(axis=2)
    weight[weight < 12] = 0.0
    v, u = np.indices(weight.shape)
    return np.array([(weight * u).sum(), (weight * v).sum()]) / weight.sum()


@pytest.mark.parametrize(("ahead_m", "left_m"), PLACES)
def test_lead_is_drawn_where_the_camera_model_says(ahead_m: float, left_m: float) -> None:
    shot, van = lead_at(ahead_m, left_m)
    renderer = CameraRenderer(drive_of())
    rows, columns = np.nonzero(renderer.render(shot).classes == PixelClass.LEAD_VEHICLE)
    renderer.close()
    # The wide lower half of the body (0.25 to 1.15 m up), its nearest and farthest corners.
    x = np.array([-0.5, -0.5, 0.5, 0.5]) * van.length_m + ahead_m
    y = np.array([-0.5, 0.5, -0.5, 0.5]) * van.width_m + left_m
    corners = project(np.stack([x, y, np.full(4, 1.0)], axis=1))
    roof = project(np.array([[ahead_m - van.length_m / 2, left_m, van.height_m]]))
    scale = ID_SIZE[0] / front_wide_camera().width
    low, high = (corners[:, 0].min() + 0.5) * scale, (corners[:, 0].max() + 0.5) * scale
    assert columns.min() == pytest.approx(low, abs=1.6)
    assert columns.max() + 1 == pytest.approx(high, abs=1.6)
    assert rows.min() == pytest.approx((roof[0, 1] + 0.5) * scale, abs=1.5)


@pytest.mark.parametrize(("ahead_m", "left_m"), PLACES)
@pytest.mark.parametrize("mount", [CameraMount(), CameraMount(1.34, 4.5)])
def test_lamps_are_drawn_within_a_pixel_of_the_camera_model(
    mount: CameraMount, ahead_m: float, left_m: float
) -> None:
    renderer = CameraRenderer(drive_of(mount=mount))
    trucks = [vehicle("v", "truck", ahead_m, left_m, brake_lamp=lit) for lit in (True, False)]
    pictures = [renderer.render(empty_street(vehicles=(truck,))) for truck in trucks]
    renderer.close()
    rear = project(np.array([[ahead_m - 4.28, left_m, 1.0]]), front_wide_camera(mount))
    # The third lamp, high up, pulls the middle of the change upwards: only u is known exactly.
    assert middle_of_change(*pictures)[0] == pytest.approx(rear[0, 0], abs=0.8)


@pytest.mark.parametrize("name", CAMERA_NAMES)
def test_every_camera_draws_a_lamp_within_a_pixel_of_its_model(name: str) -> None:
    mount = CameraMount(1.6, 3.0)
    camera = camera_model(name, mount)
    ahead, left = camera.pose_ego_from_camera[:2, 2] * 14.0
    spot = obstacle("spot", "cone", 1.9 + ahead, left)
    pictures = []
    for obstacles in ([spot], []):
        renderer = CameraRenderer(drive_of(mount=mount, obstacles=obstacles), CAMERA_NAMES)
        pictures.append(renderer.render_all(empty_street())[name])
        renderer.close()
    seen = middle_of_change(*pictures)
    # A cone's middle of mass is low; its shadow and base plate lie around its axis.
    axis = project(np.array([[1.9 + ahead, left, 0.3]]), camera)[0]
    assert seen[0] == pytest.approx(axis[0], abs=1.0)
    assert seen[1] == pytest.approx(axis[1], abs=6.0)


def test_brake_lamps_are_seen_when_lit_and_only_then() -> None:
    renderer = CameraRenderer(drive_of())
    lit, dark = (renderer.render(lead_at(18.0, 0.0, braking)[0]) for braking in (True, False))
    renderer.close()
    assert count(lit, PixelClass.LEAD_BRAKE_LAMP_ON) > 20
    assert count(dark, PixelClass.LEAD_BRAKE_LAMP_ON) == 0
    red = lit.image.astype(int)
    assert ((red[:, :, 0] > 220) & (red[:, :, 1] < 80)).sum() > 100


def test_light_shows_its_state_to_the_ego(renderer: CameraRenderer) -> None:
    shot = empty_street()
    classes = (PixelClass.LIGHT_RED, PixelClass.LIGHT_AMBER, PixelClass.LIGHT_GREEN)
    for state, kind in zip(LightState, classes, strict=True):
        picture = renderer.render(replace(shot, lights=(state,) * len(shot.lights)))
        assert count(picture, kind) >= 6
        assert all(count(picture, other) == 0 for other in classes if other is not kind)


@pytest.mark.parametrize("kind", VEHICLE_HAZARDS)
def test_vehicle_has_the_class_of_its_hazard_even_as_the_lead(
    renderer: CameraRenderer, kind: HazardKind
) -> None:
    shot, _ = lead_at(12.0, 0.0, braking=True)
    shot = replace(shot, hazards=(Hazard(kind, ("lead",), 10.0),))
    picture = renderer.render(shot)
    assert count(picture, HAZARD_CLASSES[kind]) > 100
    assert count(picture, PixelClass.LEAD_VEHICLE) == 0
    assert count(picture, PixelClass.LEAD_BRAKE_LAMP_ON) > 20


@pytest.mark.parametrize(
    ("hazard", "plain"),
    [
        (HazardKind.PEDESTRIAN_CROSSING, PixelClass.PEDESTRIAN),
        (HazardKind.PEDESTRIAN_WAITING, PixelClass.PEDESTRIAN),
        (HazardKind.CYCLIST, PixelClass.CYCLIST),
    ],
)
def test_person_has_the_class_of_a_hazard_only_while_it_is_one(
    renderer: CameraRenderer, hazard: HazardKind, plain: PixelClass
) -> None:
    on_bike = hazard is HazardKind.CYCLIST
    shot = empty_street(
        pedestrians=() if on_bike else (person("who", 14.0),),
        vehicles=(vehicle("who", "cyclist", 14.0),) if on_bike else (),
    )
    picture = renderer.render(replace(shot, hazards=(Hazard(hazard, ("who",), 12.0),)))
    assert count(picture, HAZARD_CLASSES[hazard]) > 40
    assert count(picture, plain) == 0
    picture = renderer.render(shot)
    assert count(picture, HAZARD_CLASSES[hazard]) == 0
    assert count(picture, plain) > 40


def test_cones_and_parked_cars_change_their_class_and_change_it_back(
    renderer: CameraRenderer,
) -> None:
    shot = empty_street()
    hazards = (
        Hazard(HazardKind.CONES, ("in_lane",), 14.0),
        Hazard(HazardKind.BLOCKED_LANE, ("parked",), 26.0),
    )
    for now in (hazards, (), hazards):
        picture = renderer.render(replace(shot, hazards=now))
        assert (count(picture, PixelClass.CONE_IN_LANE) > 10) == bool(now)
        assert (count(picture, PixelClass.BLOCKING_VEHICLE) > 50) == bool(now)
        assert (count(picture, PixelClass.PARKED_VEHICLE) > 50) != bool(now)
        assert count(picture, PixelClass.CONE) > 10


@pytest.mark.parametrize("distance_m", [30.0, 40.0])
def test_pedestrian_stands_out_at_a_distance(renderer: CameraRenderer, distance_m: float) -> None:
    # Beside the cone, which would hide the feet.
    shot = empty_street(pedestrians=(person("far", distance_m, 2.0),))
    with_person, without = (renderer.render(s) for s in (shot, replace(shot, pedestrians=())))
    assert count(with_person, PixelClass.PEDESTRIAN) >= 15
    difference = np.abs(with_person.image.astype(int) - without.image).max(axis=2)
    assert (difference > 40).sum() > 60


def test_legs_swing_with_the_way_and_rest_when_standing(renderer: CameraRenderer) -> None:
    def width(speed_mps: float, left_m: float) -> int:
        shot = empty_street(pedestrians=(person("w", 12.0, left_m, speed_mps),))
        columns = np.nonzero(renderer.render(shot).classes == PixelClass.PEDESTRIAN)[1]
        return int(columns.max() - columns.min())

    walking = [width(1.3, 0.15 * step) for step in range(10)]
    standing = [width(0.0, 0.15 * step) for step in range(10)]
    assert max(walking) - min(walking) >= 4
    assert max(standing) - min(standing) <= 1
    assert max(standing) <= min(walking) + 1


@pytest.mark.parametrize(("side", "sign"), [("left", 1), ("right", -1)])
@pytest.mark.parametrize("turn_rad", [0.0, np.pi])
def test_indicator_flashes_on_its_side(
    renderer: CameraRenderer, side: str, sign: int, turn_rad: float
) -> None:
    car = vehicle("v", "car", 12.0, indicator=side, turn_rad=turn_rad)
    lit = renderer.render(empty_street(vehicles=(car,), time_s=0.1))
    dark = renderer.render(empty_street(vehicles=(car,), time_s=0.6))
    assert (is_flash(0.1), is_flash(0.6)) == (True, False)
    assert not ((dark.classes == PixelClass.INDICATOR_ON)[:, 120:136]).any()
    shown = np.nonzero((lit.classes == PixelClass.INDICATOR_ON)[:, 110:146])[1] + 110
    assert len(shown) >= 6
    # Seen from the front a car's left is on the right.
    assert np.sign(ID_SIZE[0] / 2 - shown.mean()) == sign * np.cos(turn_rad)
    assert abs(ID_SIZE[0] / 2 - shown.mean()) > 3


def test_parked_hazard_lights_flash(renderer: CameraRenderer) -> None:
    lit, dark = (
        count(renderer.render(empty_street(time_s=t)), PixelClass.INDICATOR_ON) for t in (0.1, 0.6)
    )
    assert lit >= 6
    assert dark == 0


def test_pictures_follow_from_the_snapshot_alone(renderer: CameraRenderer) -> None:
    shot = empty_street(vehicles=(vehicle("v", "cyclist", 20.0),), pedestrians=(person("p", 15.0),))
    first = renderer.render(shot)
    renderer.render(empty_street(before_light_m=90.0))
    second = renderer.render(shot)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.classes, second.classes)
    assert first.image.shape == (320, 640, 3)
    assert set(np.unique(first.classes)) <= {int(kind) for kind in PixelClass}


def test_several_cameras_show_the_front_as_one_camera_does() -> None:
    shot, _ = lead_at(15.0, 0.0)
    alone, together = CameraRenderer(drive_of()), CameraRenderer(drive_of(), CAMERA_NAMES)
    pictures = together.render_all(shot)
    np.testing.assert_array_equal(pictures["front_wide"].image, alone.render(shot).image)
    assert tuple(pictures) == CAMERA_NAMES
    beside = empty_street(vehicles=(vehicle("v", "car", 8.0, 8.0),))
    pictures = together.render_all(beside)
    assert count(pictures["front_left"], PixelClass.VEHICLE) > 200
    assert count(pictures["front_right"], PixelClass.VEHICLE) == 0
    alone.close()
    together.close()
