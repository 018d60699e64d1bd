"""A node that only subscribes: what it shows, it got over ROS topics.

Collects pictures, odometry and the planner's outputs into a `Recording`. It knows no model,
calls no service and publishes nothing, so it may join and leave at any time.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import rclpy.utilities
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_profile_sensor_data,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from rsd_planner.msg import DecodeStats, PlannedTrajectory, PlannerStatus, Reasoning
from rsd_planner.ros.conversions import camera_model_of, ego_state_of
from rsd_planner.ros.tick_assembly import TickAssembler, stamp_ns_of
from rsd_planner.viz.recording import Picture, Recording
from rsd_planner.viz.tick_view import TickView

__all__ = ["ViewerNode", "ViewerTopics", "main"]

_STATES = ("LOADING", "WAITING", "ACTIVE", "DEGRADED", "SAFE_STOP", "FAULT")
_JUMP_BACK_NS = 500_000_000
_COUNTED = ("pictures", "odometry", "trajectories", "reasonings", "stats", "statuses")


@dataclass(frozen=True)
class ViewerTopics:
    """Where the viewer listens. `planner` is the planner's node name with its namespace."""

    planner: str = "/rsd_planner"
    camera: str = "front_wide"
    image: str = ""  # empty: the planner's own input topics
    camera_info: str = ""
    odometry: str = ""
    dry_run: bool = False
    raw_images: bool = False
    camera_pose: tuple[float, ...] = (1.5, 0.0, 1.5, 0.0, 0.0, 0.0)

    def resolved(self) -> dict[str, str]:
        """The topic names."""
        inputs = f"{self.planner}/input"
        image = f"{inputs}/camera/{self.camera}/image"
        path = "dry_run" if self.dry_run else "output"
        return {
            "image": self.image or (image if self.raw_images else f"{image}/compressed"),
            "camera_info": self.camera_info or f"{inputs}/camera/{self.camera}/camera_info",
            "odometry": self.odometry or f"{inputs}/odometry",
            "trajectory": f"{self.planner}/{path}/trajectory",
            "reasoning": f"{self.planner}/output/reasoning",
            "status": f"{self.planner}/output/status",
            "stats": f"{self.planner}/debug/decode_stats",
        }


@dataclass
class _Seen:
    """How many messages of each kind arrived."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_COUNTED, 0))

    def add(self, kind: str) -> None:
        self.counts[kind] += 1


class ViewerNode(Node):
    """Fills `recording`; `fresh` holds the ticks that nobody has shown yet."""

    def __init__(self, topics: ViewerTopics) -> None:
        super().__init__("rsd_viewer")
        self.recording = Recording(camera_name=topics.camera)
        self.fresh: list[TickView] = []
        self.status = "no planner seen yet"
        self.reasons: tuple[str, ...] = ()
        self.seen = _Seen()
        self.ticks_of_node: dict[str, int] = {}  # the node's own counts, from its newest status
        self._complaints: Counter[str] = Counter()
        self._pictured_s = -1e9
        self._topics = topics
        self._assembler = TickAssembler(self.recording.pose_odom_from_ego)
        self._subscribe(topics)

    def _subscribe(self, topics: ViewerTopics) -> None:
        names = topics.resolved()
        outputs = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
        kept = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
        odometry = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
        inputs = qos_profile_sensor_data
        if topics.raw_images:
            self.create_subscription(Image, names["image"], self._on_image, inputs)
        else:
            self.create_subscription(CompressedImage, names["image"], self._on_compressed, inputs)
        self.create_subscription(CameraInfo, names["camera_info"], self._on_camera_info, inputs)
        self.create_subscription(Odometry, names["odometry"], self._on_odometry, odometry)
        self.create_subscription(
            PlannedTrajectory, names["trajectory"], self._on_trajectory, outputs
        )
        self.create_subscription(Reasoning, names["reasoning"], self._on_reasoning, outputs)
        self.create_subscription(DecodeStats, names["stats"], self._on_stats, outputs)
        self.create_subscription(PlannerStatus, names["status"], self._on_status, kept)

    def _on_compressed(self, message: CompressedImage) -> None:
        self._add_picture(Picture(stamp_ns_of(message.header.stamp), bytes(message.data)))

    def _on_image(self, message: Image) -> None:
        channels = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}.get(message.encoding)
        if channels is None:
            return
        rows = np.frombuffer(message.data, np.uint8).reshape(message.height, message.step)
        image = rows[:, : message.width * channels].reshape(message.height, message.width, channels)
        if message.encoding.startswith("bgr"):
            image = image[..., [2, 1, 0]]
        image = np.repeat(image, 3, axis=2) if channels == 1 else image[..., :3]
        self._add_picture(Picture.encode(stamp_ns_of(message.header.stamp), image))

    def _add_picture(self, picture: Picture) -> None:
        pictures = self.recording.pictures
        if pictures and picture.stamp_ns < pictures[-1].stamp_ns - _JUMP_BACK_NS:
            self._start_anew()
        if not pictures or picture.stamp_ns > pictures[-1].stamp_ns:
            pictures.append(picture)
            self.seen.add("pictures")
            self._pictured_s = time.monotonic()

    def _start_anew(self) -> None:
        """Time jumped back, as a looping bag does: what was seen belongs to another drive."""
        self.recording.pictures.clear()
        self.recording.ego.clear()
        self.recording.ticks.clear()

    def _on_camera_info(self, message: CameraInfo) -> None:
        if self.recording.camera is None:
            self.recording.camera = camera_model_of(message, self._topics.camera_pose)

    def _on_odometry(self, message: Odometry) -> None:
        state = ego_state_of(message, None)
        states = self.recording.ego
        if not states or state.stamp_ns > states[-1].stamp_ns:
            states.append(state)
            self.seen.add("odometry")

    def _on_trajectory(self, message: PlannedTrajectory) -> None:
        self.seen.add("trajectories")
        self._add_tick(self._assembler.add_trajectory(message))

    def _on_reasoning(self, message: Reasoning) -> None:
        self.seen.add("reasonings")
        self._add_tick(self._assembler.add_reasoning(message))

    def _on_stats(self, message: DecodeStats) -> None:
        self.seen.add("stats")
        self._add_tick(self._assembler.add_stats(message))

    def _add_tick(self, view: TickView | None) -> None:
        if view is not None:
            self.recording.ticks.append(view)
            self.fresh.append(view)

    def _on_status(self, message: Any) -> None:
        self.seen.add("statuses")
        self.status = _STATES[message.state] if message.state < len(_STATES) else "?"
        self.reasons = tuple(message.reasons)
        if time.monotonic() - self._pictured_s < 1.0:  # before and after a drive it may complain
            self._complaints.update(self.reasons[:1])
        self.ticks_of_node = {
            name: int(getattr(message, f"ticks_{name}")) for name in ("total", "skipped", "late")
        }

    def commonest_reasons(self) -> list[str]:
        """Why the planner was not well, the most frequent reason first."""
        return [reason for reason, _ in self._complaints.most_common(5)]


def main(arguments: list[str] | None = None) -> int:
    """What `ros2 run rsd_planner viewer` starts: `rsd view` with its options."""
    from rsd_planner.commands import view

    parser = argparse.ArgumentParser(prog="viewer", description=view.__doc__)
    view.add_arguments(parser)
    words = rclpy.utilities.remove_ros_args(arguments)
    return view.run(parser.parse_args(words[1:]))
