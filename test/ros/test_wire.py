"""The bytes of a trajectory are those that rclpy would make of the message."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy")

from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from rsd_planner.msg import PlannedTrajectory, TrajectoryPoint

from rsd_planner.planning.fallback import Followable
from rsd_planner.planning.path import TimedPath
from rsd_planner.ros.conversions import trajectory_header
from rsd_planner.ros.wire import POINT, serialized_trajectory
from rsd_planner.types import PlanSource

NS = 1_000_000_000


def followable(points: int, seed: int) -> Followable:
    rng = np.random.default_rng(seed)
    t0_ns = int(rng.integers(0, 2**31)) * NS + int(rng.integers(NS))
    return Followable(
        source=PlanSource(int(rng.integers(3))),
        tick=int(rng.integers(2**60)),
        plan_tick=int(rng.integers(2**60)),
        t0_ns=t0_ns,
        valid_until_ns=t0_ns + NS,
        path=TimedPath(
            time_ns=t0_ns + np.sort(rng.integers(0, 7 * NS, points)),
            position_m=rng.normal(size=(points, 3)) * 1e4,
            yaw_rad=rng.uniform(-4, 4, points),
            speed_mps=rng.normal(size=points) * 10,
            acceleration_mps2=rng.normal(size=points),
            curvature_1pm=rng.normal(size=points) / 10,
        ),
    )


def by_rclpy(plan: Followable, frame_id: str) -> PlannedTrajectory:
    message = trajectory_header(plan, frame_id)
    path = plan.path
    for i, time_ns in enumerate(path.time_ns.tolist()):
        x, y, z = path.position_m[i].tolist()
        since_ns = time_ns - plan.t0_ns
        message.points.append(
            TrajectoryPoint(
                time_from_start=Duration(sec=since_ns // NS, nanosec=since_ns % NS),
                pose=Pose(
                    position=Point(x=x, y=y, z=z),
                    orientation=Quaternion(
                        z=float(np.sin(0.5 * path.yaw_rad[i])),
                        w=float(np.cos(0.5 * path.yaw_rad[i])),
                    ),
                ),
                longitudinal_velocity_mps=float(path.speed_mps[i]),
                acceleration_mps2=float(path.acceleration_mps2[i]),
                heading_rate_rps=float(path.curvature_1pm[i] * path.speed_mps[i]),
            )
        )
    return message


@given(st.integers(0, 70), st.integers(0, 2**32 - 1), st.text("odm_/é", max_size=20))
def test_bytes_are_those_of_rclpy(points: int, seed: int, frame_id: str) -> None:
    plan = followable(points, seed)
    expected = by_rclpy(plan, frame_id)
    data, theirs = serialized_trajectory(plan, frame_id), bytes(serialize_message(expected))
    assert len(data) == len(theirs)
    tail = 4 + POINT.itemsize * points  # before it lies padding, which may hold anything
    assert data[-tail:] == theirs[-tail:]
    assert deserialize_message(data, PlannedTrajectory) == deserialize_message(
        theirs, PlannedTrajectory
    )
