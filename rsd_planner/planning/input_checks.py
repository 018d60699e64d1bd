"""What is wrong with one message: checks as values, before anything is kept of it.

A stamp must be set, plausible and newer than the one before; every number finite and no
larger than a car's can be; the orientation a unit quaternion; the pose where the twists say
that it is. Pure functions: no clock is read and nothing is remembered.
"""

from __future__ import annotations

from enum import Enum

import numpy as np

from rsd_planner.planning.ego_history import rotation_matrix
from rsd_planner.planning.pictures import MAX_PIXELS, MAX_SIDE_PX
from rsd_planner.types import NANOSECONDS, EgoState

__all__ = ["Verdict", "check_frame_id", "check_numbers", "check_stamp", "is_picture", "pose_jumped"]

PAST_S = 10.0
FUTURE_S = 2.0  # /clock lags the messages in replay, most of all on a crowded machine
POSE_JUMP_M = 2.0  # beyond what the speed explains …
POSE_JUMP_MPS = 5.0  # … and this much more for each second between two messages
HEADING_JUMP_RAD = 0.35  # beyond what the yaw rate explains
HEADING_JUMP_RADPS = 1.0
FASTEST_MPS = 150.0
FASTEST_RADPS = 20.0
FARTHEST_M = 1e8  # UTM and earth-centred coordinates fit


class Verdict(Enum):
    """What became of one message; the value is a sentence for people."""

    ACCEPTED = "accepted"
    ZERO_STAMP = "the stamp is zero: the driver must stamp its messages"
    FUTURE_STAMP = "the stamp lies in the future: is use_sim_time set as in the source?"
    PAST_STAMP = "the stamp lies too far in the past: is use_sim_time set as in the source?"
    EQUAL_STAMP = "the stamp is that of the message before"
    REVERSED_STAMP = "the stamp is older than that of the message before"
    NOT_FINITE = "a number is not finite"
    OUT_OF_RANGE = "a number is larger than a car's can be"
    BAD_QUATERNION = "the orientation is no unit quaternion"
    WRONG_FRAME = "header.frame_id is not the expected frame"
    WRONG_CHILD_FRAME = "child_frame_id is not the expected frame"
    POSE_JUMP = "the pose jumped; the history starts anew"
    UNKNOWN_CAMERA = "this camera is not in the settings"
    BAD_IMAGE = "the picture is empty, too large or not RGB"
    UNREADABLE = "the message cannot be read"

    @property
    def ok(self) -> bool:
        """Whether the message is in the buffer."""
        return self in (Verdict.ACCEPTED, Verdict.POSE_JUMP)


def check_stamp(stamp_ns: int, last_ns: int, now_ns: int) -> Verdict:
    """A stamp against the one before it (0: none) and against the clock."""
    if stamp_ns <= 0:
        return Verdict.ZERO_STAMP
    if stamp_ns > now_ns + FUTURE_S * NANOSECONDS:
        return Verdict.FUTURE_STAMP
    if stamp_ns < now_ns - PAST_S * NANOSECONDS:
        return Verdict.PAST_STAMP
    if stamp_ns == last_ns:
        return Verdict.EQUAL_STAMP
    return Verdict.REVERSED_STAMP if stamp_ns < last_ns else Verdict.ACCEPTED


def check_numbers(state: EgoState) -> Verdict:
    """The numbers of an odometry message by themselves."""
    numbers = np.concatenate(
        [state.position_m, state.orientation_xyzw, state.linear_mps, state.angular_radps]
    )  # (13,)
    if not np.isfinite(numbers).all():
        return Verdict.NOT_FINITE
    size = np.abs(numbers)
    if size[:3].max() > FARTHEST_M or size[7:10].max() > FASTEST_MPS:
        return Verdict.OUT_OF_RANGE
    if size[10:].max() > FASTEST_RADPS:
        return Verdict.OUT_OF_RANGE
    if size[3:7].max() > 2.0 or abs(float(np.linalg.norm(numbers[3:7])) - 1.0) > 0.05:
        return Verdict.BAD_QUATERNION
    return Verdict.ACCEPTED


def check_frame_id(found: str, expected: str, what: str) -> str:
    """What is wrong with a frame's name, in words; empty when it is right.

    Without an expected one every name is right, also none at all.
    """
    if not expected or found == expected:
        return ""
    named = f"'{found[:100]}'" if found else "empty"
    return f"{what} is {named}, expected is '{expected}'"


def is_picture(image: object) -> bool:
    """Whether it is an RGB array (height, width, 3) of a size that can be used."""
    return (
        isinstance(image, np.ndarray)
        and image.dtype == np.uint8
        and image.ndim == 3
        and image.shape[2] == 3
        and 0 < image.shape[0] <= MAX_SIDE_PX
        and 0 < image.shape[1] <= MAX_SIDE_PX
        and image.shape[0] * image.shape[1] <= MAX_PIXELS
    )


def pose_jumped(last: EgoState, new: EgoState) -> bool:
    """Whether the pose moved or turned by more than the twists on both sides explain."""
    dt_s = (new.stamp_ns - last.stamp_ns) / NANOSECONDS
    before, after = rotation_matrix(np.stack([last.orientation_xyzw, new.orientation_xyzw]))
    mean = 0.5 * (before @ last.linear_mps + after @ new.linear_mps)
    surprise_m = float(np.linalg.norm(new.position_m - last.position_m - mean * dt_s))
    if surprise_m > POSE_JUMP_M + POSE_JUMP_MPS * dt_s:
        return True
    turned_rad = float(np.arccos(np.clip(0.5 * (np.trace(before.T @ after) - 1.0), -1.0, 1.0)))
    rate = 0.5 * float(np.linalg.norm(last.angular_radps) + np.linalg.norm(new.angular_radps))
    return turned_rad > rate * dt_s + HEADING_JUMP_RAD + HEADING_JUMP_RADPS * dt_s
