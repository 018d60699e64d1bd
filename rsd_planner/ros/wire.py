"""A trajectory as the bytes that go over the wire.

rclpy turns each nested point into C one Python object at a time: 2 ms for 64 points, in which
nothing else of the node runs. The points are the message's last field and all of one size, so
they are laid out by numpy and put behind what rclpy serialises of the rest. Assumes CDR in
little endian, which all middlewares of ROS 2 write on such machines.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import serialize_message

from rsd_planner.planning.fallback import Followable
from rsd_planner.ros.conversions import trajectory_header
from rsd_planner.types import NANOSECONDS

__all__ = ["serialized_trajectory"]

# TrajectoryPoint in the order of its definition.
POINT = np.dtype(
    [
        ("sec", "<i4"),
        ("nanosec", "<u4"),
        ("position", "<f8", 3),
        ("orientation", "<f8", 4),
        ("longitudinal_velocity_mps", "<f4"),
        ("lateral_velocity_mps", "<f4"),
        ("acceleration_mps2", "<f4"),
        ("heading_rate_rps", "<f4"),
        ("front_wheel_angle_rad", "<f4"),
        ("rear_wheel_angle_rad", "<f4"),
    ]
)
COUNT = 4  # bytes of the number of points, which ends a message without any


def serialized_trajectory(followable: Followable, frame_id: str) -> bytes:
    """A `PlannedTrajectory` in CDR, its points in the odometry frame and timed since t0.

    The number of points ends at a multiple of eight, whatever the frame is called, so the
    points need no padding.
    """
    head = bytes(serialize_message(trajectory_header(followable, frame_id)))
    count = len(followable.path.time_ns).to_bytes(COUNT, "little")
    return head[:-COUNT] + count + _points(followable).tobytes()


def _points(followable: Followable) -> NDArray[np.void]:
    path = followable.path
    points = np.zeros(len(path.time_ns), POINT)
    points["sec"], points["nanosec"] = divmod(path.time_ns - followable.t0_ns, NANOSECONDS)
    points["position"] = path.position_m
    points["orientation"][:, 2] = np.sin(0.5 * path.yaw_rad)
    points["orientation"][:, 3] = np.cos(0.5 * path.yaw_rad)
    points["longitudinal_velocity_mps"] = path.speed_mps
    points["acceleration_mps2"] = path.acceleration_mps2
    points["heading_rate_rps"] = path.curvature_1pm * path.speed_mps
    return points
