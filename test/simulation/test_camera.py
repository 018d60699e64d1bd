"""The renderer and the camera model agree on where things are, and causes can be seen."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from rsd_planner.simulation.camera import ID_SIZE, CameraRenderer, front_wide_camera
from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.scene import Drive, LeadCar, LightState, Snapshot, Vehicle


@pytest.fixture(scope="module")
def renderer(drive: Drive) -> Iterator[CameraRenderer]:
    made = CameraRenderer(drive)
    yield made
    made.close()


def place_lead(
    shot: Snapshot, ahead_m: float, left_m: float, braking: bool = False
) -> tuple[Snapshot, Vehicle]:
    """The snapshot with one vehicle only, straight ahead of base_link."""
    cos, sin = np.cos(shot.ego_yaw_rad), np.sin(shot.ego_yaw_rad)
    vehicle = Vehicle(
        vehicle_id="probe",
        kind="van",
        x_m=shot.ego_x_m + cos * ahead_m - sin * left_m,
        y_m=shot.ego_y_m + sin * ahead_m + cos * left_m,
        yaw_rad=shot.ego_yaw_rad,
        length_m=5.4,
        width_m=2.0,
        height_m=2.2,
        speed_mps=5.0,
        acceleration_mps2=0.0,
        brake_lamp=braking,
        colour_rgb=(200, 200, 200),
    )
    lead = LeadCar("probe", ahead_m, 5.0, 0.0, braking)
    return replace(shot, vehicles=(vehicle,), lead=lead), vehicle


def project(points_ego: NDArray[np.float64]) -> NDArray[np.float64]:
    """Pixels (u, v) of points (n, 3) in the ego frame."""
    camera = front_wide_camera()
    camera_from_ego = np.linalg.inv(camera.pose_ego_from_camera)
    points = points_ego @ camera_from_ego[:3, :3].T + camera_from_ego[:3, 3]
    u = camera.focal_x_px * points[:, 0] / points[:, 2] + camera.center_x_px
    v = camera.focal_y_px * points[:, 1] / points[:, 2] + camera.center_y_px
    return np.stack([u, v], axis=1)


@pytest.mark.parametrize(("ahead_m", "left_m"), [(15.0, 0.0), (22.0, -3.0), (40.0, 4.0)])
def test_lead_is_drawn_where_the_camera_model_says(
    drive: Drive, renderer: CameraRenderer, ahead_m: float, left_m: float
) -> None:
    shot, vehicle = place_lead(drive.snapshots[0], ahead_m, left_m)
    rows, columns = np.nonzero(renderer.render(shot).classes == PixelClass.LEAD_VEHICLE)
    # The wide lower half of the body (0.25 to 1.15 m up), its nearest and farthest corners.
    x = np.array([-0.5, -0.5, 0.5, 0.5]) * vehicle.length_m + ahead_m
    y = np.array([-0.5, 0.5, -0.5, 0.5]) * vehicle.width_m + left_m
    corners = project(np.stack([x, y, np.full(4, 1.0)], axis=1))
    roof = project(np.array([[ahead_m - vehicle.length_m / 2, left_m, vehicle.height_m]]))
    scale = ID_SIZE[0] / front_wide_camera().width
    low, high = (corners[:, 0].min() + 0.5) * scale, (corners[:, 0].max() + 0.5) * scale
    assert columns.min() == pytest.approx(low, abs=1.6)
    assert columns.max() + 1 == pytest.approx(high, abs=1.6)
    assert rows.min() == pytest.approx((roof[0, 1] + 0.5) * scale, abs=1.5)


@pytest.mark.parametrize(("ahead_m", "left_m"), [(15.0, 0.0), (22.0, -3.0), (40.0, 4.0)])
def test_lamps_are_drawn_within_a_pixel_of_the_camera_model(
    drive: Drive, renderer: CameraRenderer, ahead_m: float, left_m: float
) -> None:
    lit, dark = (
        renderer.render(place_lead(drive.snapshots[0], ahead_m, left_m, braking)[0]).image
        for braking in (True, False)
    )
    weight = np.abs(lit.astype(float) - dark).sum(axis=2)
    weight[weight < 12] = 0.0
    middle = (weight.sum(axis=0) * np.arange(weight.shape[1])).sum() / weight.sum()
    rear = project(np.array([[ahead_m - 2.73, left_m, 1.0]]))
    assert middle == pytest.approx(rear[0, 0], abs=0.8)


def test_brake_lamps_are_seen_when_lit_and_only_then(
    drive: Drive, renderer: CameraRenderer
) -> None:
    pictures = {
        lit: renderer.render(place_lead(drive.snapshots[0], 18.0, 0.0, braking=lit)[0])
        for lit in (True, False)
    }
    lit, dark = (pictures[k].classes == PixelClass.LEAD_BRAKE_LAMP_ON for k in (True, False))
    assert lit.sum() > 20
    assert dark.sum() == 0
    red = pictures[True].image.astype(int)
    bright = (red[:, :, 0] > 220) & (red[:, :, 1] < 80)
    assert bright.sum() > 100


def test_light_shows_its_state_to_the_ego(drive: Drive, renderer: CameraRenderer) -> None:
    shot = next(s for s in drive.snapshots if s.light_ahead and s.light_ahead.distance_m < 50)
    assert shot.light_ahead is not None
    shot = replace(shot, vehicles=(), lead=None)
    classes = (PixelClass.LIGHT_RED, PixelClass.LIGHT_AMBER, PixelClass.LIGHT_GREEN)
    for state, kind in zip(LightState, classes, strict=True):
        lights = (state,) * len(shot.lights)
        picture = renderer.render(replace(shot, lights=lights)).classes
        assert (picture == kind).sum() >= 6
        assert all((picture == other).sum() == 0 for other in classes if other is not kind)


def test_pictures_are_repeatable(drive: Drive, renderer: CameraRenderer) -> None:
    first, second = (renderer.render(drive.snapshots[40]) for _ in range(2))
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.classes, second.classes)
    assert first.image.shape == (320, 640, 3)
    assert set(np.unique(first.classes)) <= {int(kind) for kind in PixelClass}
