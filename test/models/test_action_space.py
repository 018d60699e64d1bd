"""Paths become actions and paths again; speeds come from history."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rsd_planner.models.action_space import UnicycleActionSpace, UnicycleConfig
from rsd_planner.models.flat_rope import flat_positions, mrope_positions
from rsd_planner.models.history_tokens import HistoryTokens


def rotation(theta: torch.Tensor) -> torch.Tensor:
    zero, one = torch.zeros_like(theta), torch.ones_like(theta)
    rows = [[theta.cos(), -theta.sin(), zero], [theta.sin(), theta.cos(), zero], [zero, zero, one]]
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


@settings(max_examples=30, deadline=None)
@given(
    speed=st.floats(3.0, 20.0),
    accel=st.floats(-0.4, 1.5),
    curvature=st.floats(-0.05, 0.05),
)
def test_a_driven_path_survives_the_round_trip(
    speed: float, accel: float, curvature: float
) -> None:
    space = UnicycleActionSpace(UnicycleConfig(accel_std=0.8, curvature_std=0.02))
    action = torch.stack([torch.full((64,), accel / 0.8), torch.full((64,), curvature / 0.02)], -1)
    start = torch.tensor(speed)
    xy, theta, _ = space.action_to_path(action, start)
    xyz = torch.cat([xy, torch.zeros(64, 1)], dim=1).double()
    back = space.path_to_action(start.double(), xyz, rotation(theta).double())
    again, _, _ = space.action_to_path(back.float(), start)
    assert (again - xy).norm(dim=-1).max() < 0.15


def test_speed_at_t0_is_that_of_a_steady_drive() -> None:
    back = torch.arange(-15, 1) * 0.1
    xyz = torch.stack([9.0 * back, 0 * back, 0 * back], -1)
    speed = UnicycleActionSpace(UnicycleConfig()).speed_at_t0(xyz, rotation(0 * back))
    assert abs(float(speed) - 9.0) < 0.02


def test_a_stopping_path_stands_and_a_moving_one_is_unchanged() -> None:
    space = UnicycleActionSpace(UnicycleConfig(accel_std=1.0, curvature_std=0.02))
    braking = torch.stack([torch.full((64,), -2.0), torch.zeros(64)], -1)
    held = space.without_reversing(braking, torch.tensor(3.0))
    xy, _, speeds = space.action_to_path(held, torch.tensor(3.0))
    assert speeds.min() > -1e-5
    assert abs(float(xy[-1, 0]) - 3.0**2 / (2 * 2.0)) < 0.2
    gentle = braking * 0.1
    again = space.without_reversing(gentle, torch.tensor(8.0))
    torch.testing.assert_close(again, gentle)


def test_within_bounds_names_the_wild_ones() -> None:
    space = UnicycleActionSpace(UnicycleConfig(accel_std=1.0, curvature_std=1.0))
    calm, wild = torch.zeros(1, 64, 2), torch.full((1, 64, 2), 30.0)
    assert space.within_bounds(torch.cat([calm, wild])).tolist() == [True, False]


def test_first_history_token_saturates_when_the_car_moves() -> None:
    back = np.arange(-15, 1) * 0.1
    xyz = np.stack([10 * back, 0 * back, 0 * back], axis=1)
    bins = HistoryTokens(num_bins=1000).encode(xyz).reshape(16, 3)
    assert bins[0, 0] == 0
    assert (bins[1:, 0] == round((1.0 + 4) / 8 * 999)).all()
    assert (bins[:, 1] == round(4 / 8 * 999)).all()


def test_text_resumes_behind_the_larger_side_of_a_picture() -> None:
    is_image = np.array([False, *([True] * 8), False])
    positions = mrope_positions(is_image, [(1, 4, 8)], merge=2)
    assert positions[:, 1].tolist() == [1, 1, 1]
    assert positions[:, 8].tolist() == [1, 2, 4]
    assert positions[:, 9].tolist() == [5, 5, 5]
    assert flat_positions(3, 2).tolist() == [[2, 3, 4]] * 3
