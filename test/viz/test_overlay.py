"""Where a path lands in the picture."""

from __future__ import annotations

import numpy as np
import pytest

from rsd_planner.types import PlanSource
from rsd_planner.viz.overlay import draw_path, project_points, scale_camera


def test_a_point_on_the_road_ahead_lies_below_the_horizon_in_the_middle(camera):
    pixels, depth = project_points(np.array([[11.5, 0.0, 0.0]]), camera)
    assert depth[0] == pytest.approx(10.0)
    assert pixels[0, 0] == pytest.approx(camera.center_x_px)
    assert pixels[0, 1] == pytest.approx(camera.center_y_px + 140.0 * 1.4 / 10.0)


def test_left_of_the_car_is_left_in_the_picture(camera):
    pixels, _ = project_points(np.array([[11.5, 2.0, 0.0]]), camera)
    assert pixels[0, 0] < camera.center_x_px


def test_scaling_the_picture_scales_the_projection(camera):
    point = np.array([[11.5, 2.0, 0.3]])
    small, _ = project_points(point, camera)
    large, _ = project_points(point, scale_camera(camera, 1024, 512))
    assert large + 0.5 == pytest.approx((small + 0.5) * 4)


def test_the_ribbon_covers_the_road_and_spares_the_sky(camera):
    image = np.full((128, 256, 3), 110, np.uint8)
    path = np.stack([np.arange(1.0, 40.0), np.zeros(39), np.zeros(39)], axis=1)
    drawn = draw_path(image, camera, path)
    assert (drawn[:60] == image[:60]).all()
    assert (drawn[100, 128] != image[100, 128]).any()
    assert (image == 110).all(), "the picture itself stays as it was"


@pytest.mark.parametrize("source", list(PlanSource))
def test_a_standing_car_gets_a_bar(camera, source):
    image = np.full((128, 256, 3), 110, np.uint8)
    drawn = draw_path(image, camera, np.zeros((64, 3)), source=source)
    assert (drawn != image).any()
    assert (drawn[:60] == image[:60]).all()


@pytest.mark.parametrize(
    "path",
    [
        np.zeros((0, 3)),
        np.array([[-5.0, 0.0, 0.0], [-10.0, 0.0, 0.0]]),
        np.array([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0], [9.0, 300.0, 0.0]]),
        np.array([[1e6, 0.0, 0.0]]),
    ],
    ids=["empty", "behind", "doubled", "far"],
)
def test_odd_paths_draw_without_error(camera, path):
    draw_path(np.zeros((128, 256, 3), np.uint8), camera, path)
