"""The traffic: repeatable, and an ego that moves like a car."""

import numpy as np
import pytest

from rsd_planner.simulation.motion import FRONT_FROM_REAR_AXLE_M, smooth_motion
from rsd_planner.simulation.network import load_network
from rsd_planner.simulation.scene import Drive, LightState
from rsd_planner.simulation.world import SNAPSHOT_STEP_S, simulate


def test_same_seed_is_the_same_drive(drive: Drive) -> None:
    again = simulate(seed=3, duration_s=14.0, network="bend")
    assert again.snapshots == drive.snapshots
    assert again.parked == drive.parked
    np.testing.assert_array_equal(again.ego.position_m, drive.ego.position_m)


def test_another_seed_is_another_drive(drive: Drive) -> None:
    other = simulate(seed=4, duration_s=3.0, network="bend")
    assert other.snapshots[0].vehicles != drive.snapshots[0].vehicles


def test_snapshots_are_even_in_time_and_hold_the_smooth_ego(drive: Drive) -> None:
    times = np.array([s.time_s for s in drive.snapshots])
    np.testing.assert_allclose(np.diff(times), SNAPSHOT_STEP_S, atol=1e-6)
    there = drive.ego.at(times)
    poses = np.array([[s.ego_x_m, s.ego_y_m] for s in drive.snapshots])
    np.testing.assert_allclose(poses, there.position_m, atol=1e-9)


def test_speed_and_yaw_rate_are_those_of_the_poses(drive: Drive) -> None:
    ego = drive.ego
    velocity = np.gradient(ego.position_m, ego.time_s, axis=0)[2:-2]
    forward = np.stack([np.cos(ego.yaw_rad), np.sin(ego.yaw_rad)], axis=1)[2:-2]
    along = (velocity * forward).sum(axis=1)
    sideways = velocity[:, 1] * forward[:, 0] - velocity[:, 0] * forward[:, 1]
    np.testing.assert_allclose(along, ego.speed_mps[2:-2], atol=0.05)
    np.testing.assert_allclose(sideways, 0.0, atol=0.02)
    yaw_rate = np.gradient(ego.yaw_rad, ego.time_s)[2:-2]
    np.testing.assert_allclose(yaw_rate, ego.yaw_rate_radps[2:-2], atol=0.01)


def test_ego_does_not_jump(drive: Drive) -> None:
    acceleration = drive.ego.acceleration_mps2
    assert np.abs(acceleration).max() < 6.0
    assert np.abs(np.diff(acceleration)).max() * 100 < 20.0  # jerk in m/s³
    assert drive.ego.speed_mps.min() > -0.01


def test_a_stopped_car_stays_where_it_is() -> None:
    times = np.arange(0, 6, 0.05)
    travelled = np.clip(times * 8.0, 0, 16.0)  # stops abruptly after 2 s
    track = smooth_motion(times, np.stack([travelled, np.zeros_like(times)], axis=1), 0.0)
    end = track.position_m[track.time_s > 4.0]
    assert np.abs(end - [16.0 - FRONT_FROM_REAR_AXLE_M, 0.0]).max() < 1e-6
    assert np.abs(track.speed_mps[track.time_s > 4.0]).max() < 1e-6


def test_ego_stands_at_a_red_light_and_goes_only_after_it_is_green() -> None:
    drive = simulate(seed=1, duration_s=18.0, network="oldtown")
    red = [
        s.ego_speed_mps < 0.1 and s.light_ahead is not None
        and s.light_ahead.state is LightState.RED
        for s in drive.snapshots
    ]  # fmt: skip
    last = len(red) - 1 - red[::-1].index(True)
    speeds = [s.ego_speed_mps for s in drive.snapshots]
    assert sum(red) > 20
    # Nobody reacts within a tenth of a second.
    assert speeds[last + 1] < 0.1
    assert max(speeds[last:]) > 2.0


def test_unknown_network_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="avenue"):
        simulate(seed=0, duration_s=1.0, network="motorway")


def test_who_leaves_the_lane_is_the_lead_for_as_long_as_he_is_drawn_in_it() -> None:
    """SUMO's lead changes lanes in one step; drawn, it slides over for two seconds."""
    drive = simulate(seed=50010, duration_s=14.0)
    path = load_network(drive.network).path
    leaving = 0
    for shot in drive.snapshots:
        lead = next((v for v in shot.vehicles if v.vehicle_id == "lead"), None)
        if lead is None:
            continue
        along, ours = path.nearest(np.array([shot.ego_x_m, shot.ego_y_m]))
        ahead, theirs = path.nearest(np.array([lead.x_m, lead.y_m]), along, along + 40.0)
        leaving += 0.2 < abs(theirs - ours) < 1.3
        if 0.0 < ahead - along < 35.0 and abs(theirs - ours) < 1.3:
            assert shot.lead is not None and shot.lead.vehicle_id == "lead"
            gap = ahead - along - lead.length_m / 2
            assert shot.lead.gap_m == pytest.approx(gap, abs=0.5)
    assert leaving >= 3
