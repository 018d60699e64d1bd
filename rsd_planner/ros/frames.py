"""Where base_link sits in the odometry's child frame: from tf2 where installed, else a parameter.

The transform is static, so it is looked up until it is found and then kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node

from rsd_planner.config import PlannerSettings
from rsd_planner.planning.ego_history import rotation_matrix
from rsd_planner.ros.conversions import pose_matrix

try:
    import tf2_ros
except ImportError:  # the wheels of ROS have no tf2
    tf2_ros = None

__all__ = ["BaseFrame"]


class BaseFrame:
    """Answers where the base is in a child frame."""

    def __init__(self, node: Node, settings: PlannerSettings, log: Callable[[str], None]) -> None:
        self._settings = settings
        self._log = log
        self._buffer: Any = None
        self._found: dict[str, NDArray[np.float64] | None] = {}
        given = any(settings.base_pose_in_child)
        self._given = pose_matrix(settings.base_pose_in_child) if given else None
        if tf2_ros is not None and not given:
            self._buffer = tf2_ros.Buffer()
            self._listener = tf2_ros.TransformListener(self._buffer, node)

    def pose_in(self, child_frame_id: str) -> NDArray[np.float64] | None:
        """(4, 4) pose of the base in this frame; None when the frame is the base itself."""
        base = self._settings.base_frame
        if self._given is not None or self._buffer is None or child_frame_id in ("", base):
            return self._given
        if child_frame_id not in self._found:
            try:
                found = self._buffer.lookup_transform(child_frame_id, base, _latest())
            except tf2_ros.TransformException:
                return None  # asked again with the next message
            self._found[child_frame_id] = _matrix_of(found.transform)
            self._log(f"{base} in {child_frame_id} comes from tf2")
        return self._found[child_frame_id]


def _latest() -> Any:
    from rclpy.time import Time

    return Time()


def _matrix_of(transform: Any) -> NDArray[np.float64]:
    q, t = transform.rotation, transform.translation
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_matrix(np.array([q.x, q.y, q.z, q.w]))
    matrix[:3, 3] = [t.x, t.y, t.z]
    return matrix
