"""Between ROS messages and the planner's values, without ROS.

Messages are the plain dataclasses that `rosbags` generates from the standard definitions.
Pictures come as `sensor_msgs/CompressedImage` (JPEG or PNG) or as raw `sensor_msgs/Image`.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_typestore

from rsd_planner.bags.errors import BagError
from rsd_planner.types import CameraModel, EgoState, Frame

__all__ = [
    "CAMERA_INFO",
    "COMPRESSED_IMAGE",
    "IMAGE",
    "ODOMETRY",
    "TF_MESSAGE",
    "TYPES",
    "camera_info_message",
    "camera_model_of",
    "compressed_image_message",
    "ego_state_of",
    "frame_of",
    "matrix_of_transform",
    "odometry_message",
    "stamp_ns_of",
    "transform_message",
]

COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
IMAGE = "sensor_msgs/msg/Image"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
ODOMETRY = "nav_msgs/msg/Odometry"
TF_MESSAGE = "tf2_msgs/msg/TFMessage"
TYPES = get_typestore(Stores.ROS2_HUMBLE)  # these messages are the same in every distribution

_T = TYPES.types
_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1, "8UC3": 3}
_TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "8UC3": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
    "8UC1": cv2.COLOR_GRAY2RGB,
}


def stamp_ns_of(message: Any) -> int:
    """The header's stamp."""
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


def frame_of(message: Any, type_name: str, camera: str) -> Frame:
    """The picture of an image message, decoded to RGB."""
    if type_name == COMPRESSED_IMAGE:
        bgr = cv2.imdecode(np.frombuffer(message.data, np.uint8), cv2.IMREAD_COLOR)
        if bgr is None:
            raise BagError(
                f"a picture of camera {camera!r} with format {message.format!r} cannot be decoded; "
                "record it as JPEG or PNG"
            )
        image = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
    else:
        image = _raw_image(message, camera)
    return Frame(camera, stamp_ns_of(message), np.asarray(image, dtype=np.uint8))


def _raw_image(message: Any, camera: str) -> NDArray[np.uint8]:
    encoding = str(message.encoding)
    if encoding not in _CHANNELS:
        raise BagError(
            f"camera {camera!r} has pictures with encoding {encoding!r}; "
            f"record one of {', '.join(_CHANNELS)}"
        )
    height, width, channels = int(message.height), int(message.width), _CHANNELS[encoding]
    data = np.asarray(message.data, dtype=np.uint8)
    # Rows may be padded: `step` bytes each.
    if int(message.step) < width * channels or data.size < height * int(message.step):
        raise BagError(f"a raw picture of camera {camera!r} has too few bytes; record it again")
    rows = data[: height * int(message.step)].reshape(height, int(message.step))
    pixels = rows[:, : width * channels].reshape(height, width, channels)
    if encoding == "rgb8":
        return np.ascontiguousarray(pixels)
    return np.asarray(cv2.cvtColor(np.ascontiguousarray(pixels), _TO_RGB[encoding]), np.uint8)


def ego_state_of(message: Any) -> EgoState:
    """The pose and twist of an odometry message, as they stand in it."""
    pose, twist = message.pose.pose, message.twist.twist
    return EgoState(
        stamp_ns_of(message),
        np.array([pose.position.x, pose.position.y, pose.position.z]),
        np.array([pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w]),
        np.array([twist.linear.x, twist.linear.y, twist.linear.z]),
        np.array([twist.angular.x, twist.angular.y, twist.angular.z]),
    )


def camera_model_of(message: Any, pose_ego_from_camera: NDArray[np.float64]) -> CameraModel:
    """The pinhole of a camera-info message; lens distortion is not modelled."""
    k = np.asarray(message.k, dtype=float)
    return CameraModel(
        int(message.width), int(message.height), k[0], k[4], k[2], k[5], pose_ego_from_camera
    )


def matrix_of_transform(transform: Any) -> NDArray[np.float64]:
    """(4, 4) parent from child, of a geometry_msgs/Transform."""
    q = transform.rotation
    x, y, z, w = q.x, q.y, q.z, q.w
    matrix = np.eye(4)
    matrix[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    matrix[:3, 3] = [transform.translation.x, transform.translation.y, transform.translation.z]
    return matrix


def _header(stamp_ns: int, frame_id: str) -> Any:
    time = _T["builtin_interfaces/msg/Time"](sec=stamp_ns // 10**9, nanosec=stamp_ns % 10**9)
    return _T["std_msgs/msg/Header"](stamp=time, frame_id=frame_id)


def compressed_image_message(stamp_ns: int, frame_id: str, jpeg: bytes) -> Any:
    """A JPEG as it is."""
    return _T[COMPRESSED_IMAGE](
        header=_header(stamp_ns, frame_id), format="jpeg", data=np.frombuffer(jpeg, np.uint8)
    )


def camera_info_message(stamp_ns: int, frame_id: str, model: CameraModel) -> Any:
    """Intrinsics without distortion."""
    fx, fy, cx, cy = model.focal_x_px, model.focal_y_px, model.center_x_px, model.center_y_px
    region = _T["sensor_msgs/msg/RegionOfInterest"](
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )
    return _T[CAMERA_INFO](
        header=_header(stamp_ns, frame_id),
        height=model.height,
        width=model.width,
        distortion_model="plumb_bob",
        d=np.zeros(5),
        k=np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1.0]),
        r=np.eye(3).ravel(),
        p=np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1.0, 0]),
        binning_x=0,
        binning_y=0,
        roi=region,
    )


def odometry_message(state: EgoState, frame_id: str, child_frame_id: str) -> Any:
    """Pose in `frame_id`, twist in `child_frame_id`."""
    point = _T["geometry_msgs/msg/Point"](*(float(v) for v in state.position_m))
    rotation = _T["geometry_msgs/msg/Quaternion"](*(float(v) for v in state.orientation_xyzw))
    vector = _T["geometry_msgs/msg/Vector3"]
    pose = _T["geometry_msgs/msg/Pose"](position=point, orientation=rotation)
    twist = _T["geometry_msgs/msg/Twist"](
        linear=vector(*(float(v) for v in state.linear_mps)),
        angular=vector(*(float(v) for v in state.angular_radps)),
    )
    covariance = np.diag([1e-4, 1e-4, 1e-4, 1e-5, 1e-5, 1e-5]).ravel()
    return _T[ODOMETRY](
        header=_header(state.stamp_ns, frame_id),
        child_frame_id=child_frame_id,
        pose=_T["geometry_msgs/msg/PoseWithCovariance"](pose=pose, covariance=covariance),
        twist=_T["geometry_msgs/msg/TwistWithCovariance"](twist=twist, covariance=covariance),
    )


def transform_message(stamp_ns: int, parent: str, child: str, matrix: NDArray[np.float64]) -> Any:
    """A TFMessage with one transform, parent from child."""
    rotation = matrix[:3, :3]
    w = 0.5 * np.sqrt(max(0.0, 1.0 + float(np.trace(rotation))))
    if w > 1e-3:
        x = (rotation[2, 1] - rotation[1, 2]) / (4 * w)
        y = (rotation[0, 2] - rotation[2, 0]) / (4 * w)
        z = (rotation[1, 0] - rotation[0, 1]) / (4 * w)
    else:  # half a turn: the axis is the eigenvector of 1
        values, vectors = np.linalg.eigh(rotation + rotation.T)
        x, y, z = vectors[:, int(np.argmax(values))]
    transform = _T["geometry_msgs/msg/Transform"](
        translation=_T["geometry_msgs/msg/Vector3"](*(float(v) for v in matrix[:3, 3])),
        rotation=_T["geometry_msgs/msg/Quaternion"](float(x), float(y), float(z), float(w)),
    )
    stamped = _T["geometry_msgs/msg/TransformStamped"](
        header=_header(stamp_ns, parent), child_frame_id=child, transform=transform
    )
    return _T[TF_MESSAGE](transforms=[stamped])
