"""Messages to values and values to messages; no decisions.

Stamps are integer nanoseconds. Everything that goes out carries t0, never the present.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
from nav_msgs.msg import Odometry, Path
from numpy.typing import NDArray
from std_msgs.msg import Header

from rsd_planner.msg import (
    DecodeStats,
    PlannedTrajectory,
    Reasoning,
    ReasoningSpan,
)
from rsd_planner.planning.ego_history import rotation_matrix
from rsd_planner.planning.fallback import Followable
from rsd_planner.types import NANOSECONDS, CameraModel, EgoState, PlanResult

__all__ = [
    "camera_model_of",
    "ego_state_of",
    "path_message",
    "pose_matrix",
    "reasoning_message",
    "stamp_ns",
    "stats_message",
    "time_message",
    "trajectory_header",
]

# Optical axes (x right, y down, z forward) of a camera whose body looks along x.
BODY_FROM_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])


def stamp_ns(stamp: Time) -> int:
    """Nanoseconds of a stamp."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def time_message(nanoseconds: int) -> Time:
    """A stamp from nanoseconds."""
    return Time(sec=nanoseconds // NANOSECONDS, nanosec=nanoseconds % NANOSECONDS)


def pose_matrix(pose: tuple[float, ...]) -> NDArray[np.float64]:
    """(4, 4) from x y z roll pitch yaw, in the order of fixed axes (URDF)."""
    x, y, z, roll, pitch, yaw = pose
    cr, sr, cp, sp = math.cos(roll), math.sin(roll), math.cos(pitch), math.sin(pitch)
    cy, sy = math.cos(yaw), math.sin(yaw)
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr, x],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr, y],
            [-sp, cp * sr, cp * cr, z],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )


def ego_state_of(message: Odometry, base_in_child: NDArray[np.float64] | None) -> EgoState:
    """The state of base_link; `base_in_child` (4, 4) is its pose in the child frame."""
    pose, twist = message.pose.pose, message.twist.twist
    position = _vector(pose.position)
    orientation = np.array(
        [pose.orientation.x, pose.orientation.y, pose.orientation.z, pose.orientation.w]
    )
    linear, angular = _vector(twist.linear), _vector(twist.angular)
    if base_in_child is not None:
        child_from_base, arm = base_in_child[:3, :3], base_in_child[:3, 3]
        position = position + rotation_matrix(orientation) @ arm
        orientation = _product(orientation, _quaternion(child_from_base))
        linear = child_from_base.T @ (linear + np.cross(angular, arm))
        angular = child_from_base.T @ angular
    return EgoState(stamp_ns(message.header.stamp), position, orientation, linear, angular)


def camera_model_of(message: Any, pose: tuple[float, ...]) -> CameraModel | None:
    """A pinhole model from CameraInfo and the camera's pose; None where it is uncalibrated."""
    k = message.k
    if not (k[0] > 0 and k[4] > 0 and message.width > 0 and message.height > 0):
        return None
    ego_from_camera = pose_matrix(pose)
    ego_from_camera[:3, :3] = ego_from_camera[:3, :3] @ BODY_FROM_OPTICAL
    return CameraModel(
        int(message.width), int(message.height), k[0], k[4], k[2], k[5], ego_from_camera
    )


def trajectory_header(followable: Followable, frame_id: str) -> PlannedTrajectory:
    """A trajectory without its points, which `ros/wire.py` adds."""
    return PlannedTrajectory(
        header=_header(followable.t0_ns, frame_id),
        tick=followable.tick,
        plan_tick=followable.plan_tick,
        source=int(followable.source),
        valid_until=time_message(followable.valid_until_ns),
    )


def path_message(followable: Followable, frame_id: str) -> Path:
    """The same poses as a nav_msgs/Path, each with the time at which it is reached."""
    path = followable.path
    poses = _poses(path.position_m, path.yaw_rad)
    return Path(
        header=_header(followable.t0_ns, frame_id),
        poses=[
            PoseStamped(header=_header(ns, frame_id), pose=pose)
            for ns, pose in zip(path.time_ns.tolist(), poses, strict=True)
        ],
    )


def reasoning_message(result: PlanResult, frame_id: str) -> Reasoning:
    """The text of a tick with its origins."""
    return Reasoning(
        header=_header(result.t0_ns, frame_id),
        tick=result.tick,
        text=result.text,
        spans=[
            ReasoningSpan(
                start=span.start,
                end=span.end,
                tokens=span.tokens,
                source=int(span.source),
                kind=int(span.kind),
            )
            for span in result.spans
        ],
        decision=int(result.decision),
        finish_reason=int(result.decoded.finish_reason),
        agrees_with_trajectory=bool(result.agrees_with_trajectory),
    )


def stats_message(result: PlanResult, frame_id: str) -> DecodeStats:
    """What the tick cost and what its draft was worth."""
    decoded, durations = result.decoded, result.durations
    tokens = len(decoded.tokens)
    return DecodeStats(
        header=_header(result.t0_ns, frame_id),
        tick=result.tick,
        drafter=result.drafter,
        rule=result.rule,
        prepare_ms=float(durations.prepare_ms),
        vision_ms=float(durations.vision_ms),
        prefill_ms=float(durations.prefill_ms),
        reasoning_ms=float(durations.reasoning_ms),
        head_ms=float(durations.head_ms),
        total_ms=float(durations.total_ms),
        drafter_ms=float(decoded.drafter_ms),
        plain_ms_estimate=float(result.plain_ms_estimate),
        tokens=tokens,
        proposed=decoded.proposed,
        accepted=decoded.accepted,
        target_forwards=decoded.target_forwards,
        drafter_calls=decoded.drafter_calls,
        acceptance_length=float(decoded.acceptance_length),
        routine_share=decoded.accepted / tokens if tokens else 0.0,
    )


def _header(nanoseconds: int, frame_id: str) -> Header:
    return Header(stamp=time_message(nanoseconds), frame_id=frame_id)


def _vector(message: Any) -> NDArray[np.float64]:
    return np.array([message.x, message.y, message.z], dtype=np.float64)


def _poses(position: NDArray[np.float64], yaw: NDArray[np.float64]) -> list[Pose]:
    half = 0.5 * yaw
    return [
        Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(z=sine, w=cosine))
        for (x, y, z), sine, cosine in zip(
            position.tolist(), np.sin(half).tolist(), np.cos(half).tolist(), strict=True
        )
    ]


def _quaternion(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """x y z w of a rotation matrix, by its largest component."""
    m = rotation
    trace = float(np.trace(m))
    squares = np.array([m[0, 0], m[1, 1], m[2, 2], trace])
    largest = int(np.argmax(squares))
    if largest == 3:
        q = np.array([m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], 1.0 + trace])
    else:
        i, j, k = largest, (largest + 1) % 3, (largest + 2) % 3
        q = np.zeros(4)
        q[i] = 1.0 + 2.0 * m[i, i] - trace
        q[j], q[k], q[3] = m[j, i] + m[i, j], m[k, i] + m[i, k], m[k, j] - m[j, k]
    unit: NDArray[np.float64] = q / np.linalg.norm(q)
    return unit


def _product(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Hamilton product of quaternions x y z w."""
    vector = a[3] * b[:3] + b[3] * a[:3] + np.cross(a[:3], b[:3])
    return np.append(vector, a[3] * b[3] - a[:3] @ b[:3])
