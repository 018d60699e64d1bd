"""Drives a bag without end past a planner node, and hears what the node says of it.

A `FaultRig` whose car is a recorded one and whose memory is bounded, so that it may run for
hours. Everything is stamped with the time at which it is due. Touches the node by topics,
services and signals only.
"""

from __future__ import annotations

import array
import time
from typing import Any

import cv2
import numpy as np
from nav_msgs.msg import Odometry
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from rsd_planner.commands._looped_drive import LoopedDrive, Picture
from rsd_planner.commands._soak_hearing import Hearing
from rsd_planner.msg import DecodeStats
from rsd_planner.ros.conversions import stamp_ns, time_message
from rsd_planner.ros.fault_rig import FaultRig
from rsd_planner.types import EgoState

__all__ = ["SoakRig"]

KEPT = 64  # messages of a kind that are remembered


class SoakRig(FaultRig):
    """A context manager. `raw` publishes uncompressed pictures instead of the recorded ones, in
    `size` (width, height [px]) where that is given."""

    def __init__(
        self,
        target: str,
        camera: str,
        drive: LoopedDrive,
        hearing: Hearing,
        size: tuple[int, int] | None = None,
    ) -> None:
        """`target` is the node's full name; `hearing` gets every message of it."""
        super().__init__(target, (camera,), simulated=False)
        self._bag, self._hearing = drive, hearing
        self.target, self.camera = target, camera
        self.raw, self._size = size is not None, size
        self.sent = {"odometry": 0, camera: 0}

    def _publish_to(self) -> None:
        super()._publish_to()
        profile = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
        topic = f"{self._target}/input/camera/{self.camera}/image"
        self._raw_images = self.node.create_publisher(Image, topic, profile)

    def _listen_to(self) -> None:
        super()._listen_to()
        self.node.create_subscription(
            DecodeStats,
            f"{self._target}/debug/decode_stats",
            lambda message: self._keep("stats", message),
            QoSProfile(depth=50),
        )

    def _keep(self, kind: str, message: Any) -> None:
        super()._keep(kind, message)
        with self._lock:
            del self._seen[kind][:-KEPT]
        now_s, now_ns = time.monotonic(), time.time_ns()
        if kind == "trajectory":
            t0_ns = stamp_ns(message.header.stamp)
            self._hearing.note_trajectory(now_s, now_ns, t0_ns, message.tick, message.source)
        elif kind == "status":
            self._hearing.note_status(now_s, message)
        elif kind == "stats":
            self._hearing.note_stats(message.total_ms)

    def _drive(self) -> None:
        """Publishes everything when it is due, by the wall clock, as its stamp says."""
        began_ns = time.time_ns()
        for at_ns, event in self._bag.play():
            due_ns = began_ns + at_ns
            while (wait_s := (due_ns - time.time_ns()) / 1e9) > 0:
                if self._ended.wait(min(wait_s, 0.05)):
                    return
            if self._ended.is_set():
                return
            self._hearing.note_delay(time.monotonic(), -wait_s)
            if isinstance(event, Picture):
                self._send_picture(due_ns, event)
            else:
                self._send_state(due_ns, event)

    def _send_picture(self, due_ns: int, picture: Picture) -> None:
        if self.raw:
            pixels = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR)
            if self._size is not None:
                pixels = cv2.resize(pixels, self._size, interpolation=cv2.INTER_NEAREST)
            height, width = pixels.shape[:2]
            message = Image(height=height, width=width, encoding="bgr8", step=3 * width)
            message.data = array.array("B", pixels.tobytes())
            publisher = self._raw_images
        else:
            data = array.array("B", picture.data)
            message = CompressedImage(format=picture.format, data=data)
            publisher = self._images[self.camera]
        message.header.stamp = time_message(due_ns)
        message.header.frame_id = self.camera
        self.sent[self.camera] += 1
        self._send(self.camera, publisher, message)

    def _send_state(self, due_ns: int, state: EgoState) -> None:
        message = Odometry(child_frame_id="base_link")
        message.header.stamp = time_message(due_ns)
        message.header.frame_id = "odom"
        pose, twist = message.pose.pose, message.twist.twist
        p, q = pose.position, pose.orientation
        p.x, p.y, p.z = state.position_m.tolist()
        q.x, q.y, q.z, q.w = state.orientation_xyzw.tolist()
        twist.linear.x, twist.linear.y, twist.linear.z = state.linear_mps.tolist()
        twist.angular.x, twist.angular.y, twist.angular.z = state.angular_radps.tolist()
        self.sent["odometry"] += 1
        self._send("odometry", self._odometry, message)
