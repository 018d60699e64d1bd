"""The two large messages as the bytes that go over the wire.

rclpy turns each nested point of a trajectory into C one Python object at a time: 2 ms for 64
points, in which nothing else of the node runs. The points are the message's last field and all
of one size, so they are laid out by numpy and put behind what rclpy serialises of the rest. A
raw picture it copies twice, in 1.4 ms of a core for one of 1080p; its fields are read here
where they lie. Assumes CDR in little endian, which all middlewares of ROS 2 write on such
machines; of another order rclpy reads a picture itself.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image

from rsd_planner.planning.fallback import Followable
from rsd_planner.planning.pictures import PictureError
from rsd_planner.ros.conversions import stamp_ns, trajectory_header
from rsd_planner.types import NANOSECONDS

__all__ = ["RawPicture", "raw_picture", "serialized_trajectory"]

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
LITTLE_ENDIAN = b"\0\1"  # of plain CDR
HEAD = 4  # bytes before the first field, from which alignment counts


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


@dataclass(frozen=True)
class RawPicture:
    """The fields of a `sensor_msgs/Image`; `data` is not copied."""

    stamp_ns: int
    height: int
    width: int
    encoding: str
    step: int
    data: memoryview


def raw_picture(message: bytes) -> RawPicture:
    """A serialized `sensor_msgs/Image`. Raises PictureError where it is damaged."""
    if message[:2] != LITTLE_ENDIAN:
        return _read_by_rclpy(message)
    try:
        seconds, nanoseconds = struct.unpack_from("<iI", message, HEAD)
        _, at = _text(message, HEAD + 8)  # frame_id
        height, width = struct.unpack_from("<II", message, _aligned(at))
        encoding, at = _text(message, _aligned(at) + 8)
        step, length = struct.unpack_from("<II", message, _aligned(at + 1))  # after is_bigendian
        start = _aligned(at + 1) + 8
    except (struct.error, UnicodeDecodeError, ValueError):
        raise PictureError("the message is damaged") from None
    if length > len(message) - start:
        raise PictureError("the message was cut")
    data = memoryview(message)[start : start + length]
    return RawPicture(seconds * NANOSECONDS + nanoseconds, height, width, encoding, step, data)


def _text(message: bytes, at: int) -> tuple[str, int]:
    """The text whose length is at an offset, and where it ends. Raises ValueError."""
    (length,) = struct.unpack_from("<I", message, at)
    end = at + 4 + length
    if not length:
        return "", end  # as some middlewares write an empty one
    if not length <= len(message) - at - 4 or message[end - 1]:
        raise ValueError("no text")
    return message[at + 4 : end - 1].decode(), end


def _aligned(at: int) -> int:
    return at + (HEAD - at) % 4


def _read_by_rclpy(message: bytes) -> RawPicture:
    try:
        image = deserialize_message(message, Image)
    except Exception as error:  # what is raised differs between middlewares
        raise PictureError("the message is damaged") from error
    data = memoryview(image.data)
    time_ns = stamp_ns(image.header.stamp)
    return RawPicture(time_ns, image.height, image.width, image.encoding, image.step, data)
