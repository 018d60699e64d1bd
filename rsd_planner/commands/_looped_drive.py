"""A bag as a drive without end: where it starts again, the car goes on as it was.

A bag that is merely repeated jumps back in time and place, and a planner rightly says so. Here
the loop is the longest piece of the bag whose ends have the same speed and yaw rate, and each
round begins where the last one ended. What the camera sees does jump. No ROS is needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rsd_planner.bags import Bag, messages
from rsd_planner.errors import CommandError
from rsd_planner.planning.ego_history import yaw_of
from rsd_planner.types import EgoState

__all__ = ["LoopedDrive", "Picture", "loop_of"]

SAME_SPEED_MPS = 0.15
SAME_YAW_RATE_RADPS = 0.03
SHORTEST_S = 2.0


@dataclass(frozen=True)
class Picture:
    """One compressed picture as it was recorded. `at_ns` is its stamp since the loop's start."""

    at_ns: int
    format: str
    data: bytes


@dataclass(frozen=True)
class LoopedDrive:
    """Messages of one round, in order. Stamps count from the start of the round."""

    length_ns: int
    events: tuple[Picture | EgoState, ...]
    turn_rad: float  # heading at the end of a round against that at its start
    step_m: tuple[float, float]  # from start to end of a round, in the odometry's frame
    origin_m: tuple[float, float]  # where a round starts, in the odometry's frame

    def play(self) -> Iterator[tuple[int, Picture | EgoState]]:
        """Without end: nanoseconds since the start, and what is published then."""
        offset_ns, turn_rad, shift = 0, 0.0, np.zeros(2)
        while True:
            for event in self.events:
                if isinstance(event, Picture):
                    at_ns = offset_ns + event.at_ns
                    yield at_ns, replace(event, at_ns=at_ns)
                else:
                    moved = self._moved(event, turn_rad, shift)
                    at_ns = offset_ns + event.stamp_ns
                    yield at_ns, replace(moved, stamp_ns=at_ns)
            offset_ns += self.length_ns
            shift = shift + _turn(turn_rad) @ np.array(self.step_m)
            turn_rad = math.remainder(turn_rad + self.turn_rad, math.tau)

    def _moved(self, state: EgoState, turn_rad: float, shift: np.ndarray) -> EgoState:
        """The state of a later round: turned about the start of the round, and moved."""
        origin = np.array(self.origin_m)
        position = state.position_m.copy()
        position[:2] = origin + _turn(turn_rad) @ (position[:2] - origin) + shift
        x, y, z, w = state.orientation_xyzw
        c, s = math.cos(0.5 * turn_rad), math.sin(0.5 * turn_rad)
        turned = np.array([c * x - s * y, c * y + s * x, c * z + s * w, c * w - s * z])
        return replace(state, position_m=position, orientation_xyzw=turned)


def loop_of(bag: Bag, camera: str) -> LoopedDrive:
    """The longest loop in a bag with compressed pictures. Raises CommandError without one."""
    topic = bag.image_topic(camera)
    pictures = [
        _picture(messages.TYPES.deserialize_cdr(raw.data, raw.type_name))
        for raw in bag.messages([topic])
        if raw.type_name == messages.COMPRESSED_IMAGE
    ]
    if not pictures:
        raise CommandError(f"{bag.path} has no compressed pictures of the camera '{camera}'.")
    states = sorted(bag.read_odometry(), key=lambda state: state.stamp_ns)
    first, last, start, end = _ends(bag, pictures, states)
    events: list[Picture | EgoState] = [
        replace(p, at_ns=p.at_ns - first) for p in pictures if first <= p.at_ns < last
    ]
    events += [
        replace(s, stamp_ns=s.stamp_ns - first) for s in states if first <= s.stamp_ns < last
    ]
    turn_rad = yaw_of(end.orientation_xyzw) - yaw_of(start.orientation_xyzw)
    step = end.position_m[:2] - start.position_m[:2]
    return LoopedDrive(
        length_ns=last - first,
        events=tuple(sorted(events, key=_instant)),
        turn_rad=float(turn_rad),
        step_m=(float(step[0]), float(step[1])),
        origin_m=(float(start.position_m[0]), float(start.position_m[1])),
    )


def _ends(
    bag: Bag, pictures: list[Picture], states: list[EgoState]
) -> tuple[int, int, EgoState, EgoState]:
    """Stamps of the pictures between which the loop runs, and the states at them."""
    stamps = np.array([state.stamp_ns for state in states])
    cuts = [p.at_ns for p in pictures if stamps[0] <= p.at_ns <= stamps[-1]]
    nearest = [states[int(np.abs(stamps - cut).argmin())] for cut in cuts]
    speed = np.array([state.linear_mps[0] for state in nearest])
    yaw_rate = np.array([state.angular_radps[2] for state in nearest])
    for length in range(len(cuts) - 1, 0, -1):
        alike = np.abs(speed[length:] - speed[:-length]) < SAME_SPEED_MPS
        alike &= np.abs(yaw_rate[length:] - yaw_rate[:-length]) < SAME_YAW_RATE_RADPS
        if alike.any():
            i = int(alike.argmax())
            if cuts[i + length] - cuts[i] < SHORTEST_S * 1e9:
                break
            return cuts[i], cuts[i + length], nearest[i], nearest[i + length]
    raise CommandError(f"{bag.path} has no piece of {SHORTEST_S:g} s that could be repeated.")


def _picture(message: Any) -> Picture:
    return Picture(messages.stamp_ns_of(message), str(message.format), bytes(message.data))


def _instant(event: Picture | EgoState) -> int:
    return event.at_ns if isinstance(event, Picture) else event.stamp_ns


def _turn(angle_rad: float) -> np.ndarray:
    """(2, 2) rotation."""
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[c, -s], [s, c]])
