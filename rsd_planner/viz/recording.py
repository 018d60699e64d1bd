"""What one drive left behind for the eyes: pictures, ego poses and ticks, in order of time.

Filled from ROS topics or from a bag; the video and the report are made of it. Pictures stay
compressed, so that minutes of driving fit into memory.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from rsd_planner.types import CameraModel, EgoState
from rsd_planner.viz.tick_view import TickView, pose_matrix

__all__ = ["Picture", "Recording"]


@dataclass(frozen=True)
class Picture:
    """One picture, compressed (JPEG or PNG), with its stamp."""

    stamp_ns: int
    data: bytes

    def decode(self) -> NDArray[np.uint8] | None:
        """The RGB picture (height, width, 3), or None where the bytes are damaged."""
        image = cv2.imdecode(np.frombuffer(self.data, np.uint8), cv2.IMREAD_COLOR)
        return None if image is None else np.asarray(image[..., ::-1], np.uint8)

    @staticmethod
    def encode(stamp_ns: int, image: NDArray[np.uint8]) -> Picture:
        """Compress an RGB picture (height, width, 3)."""
        good, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        assert good
        return Picture(stamp_ns, data.tobytes())


@dataclass
class Recording:
    """A drive for the eyes. Append in order of time; a jump back starts it anew."""

    camera: CameraModel | None = None
    camera_name: str = ""
    pictures: list[Picture] = field(default_factory=list)
    ego: list[EgoState] = field(default_factory=list)
    ticks: list[TickView] = field(default_factory=list)

    def pose_odom_from_ego(self, stamp_ns: int) -> NDArray[np.float64] | None:
        """The (4, 4) ego pose at a time, interpolated; None before the first odometry."""
        if not self.ego:
            return None
        after = bisect_right(self.ego, stamp_ns, key=_stamp_of_ego)
        if after == 0:
            return None
        before = self.ego[after - 1]
        if after == len(self.ego):
            return pose_matrix(before)
        return pose_matrix(_between(before, self.ego[after], stamp_ns))

    def tick_at(self, stamp_ns: int) -> TickView | None:
        """The newest tick whose answer was there at a time: t0 and its time in the worker."""
        done = [t for t in self.ticks if t.t0_ns + int(t.total_ms * 1e6) <= stamp_ns]
        return max(done, key=lambda tick: tick.t0_ns) if done else None

    def ticks_until(self, stamp_ns: int) -> list[TickView]:
        """The ticks whose answers were there at a time."""
        return [t for t in self.ticks if t.t0_ns + int(t.total_ms * 1e6) <= stamp_ns]


_stamp_of_ego: Callable[[EgoState], int] = lambda state: state.stamp_ns  # noqa: E731


def _between(before: EgoState, after: EgoState, stamp_ns: int) -> EgoState:
    """Linear between two states that are a few hundredths of a second apart."""
    span = after.stamp_ns - before.stamp_ns
    share = (stamp_ns - before.stamp_ns) / span if span > 0 else 0.0
    flip = 1.0 if before.orientation_xyzw @ after.orientation_xyzw >= 0 else -1.0
    turned = (1 - share) * before.orientation_xyzw + share * flip * after.orientation_xyzw
    return EgoState(
        stamp_ns=stamp_ns,
        position_m=(1 - share) * before.position_m + share * after.position_m,
        orientation_xyzw=turned / np.linalg.norm(turned),
        linear_mps=(1 - share) * before.linear_mps + share * after.linear_mps,
        angular_radps=(1 - share) * before.angular_radps + share * after.angular_radps,
    )
