"""Subscriptions: messages become values and go into the session.

No message may end the node: when a callback raises, the message counts as refused with what
was raised as the reason, and each reason is logged once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from nav_msgs.msg import Odometry
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.impl.implementation_singleton import rclpy_implementation
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import String

from rsd_planner.config import PlannerSettings
from rsd_planner.planning.pictures import PackedFrame, packed_picture, raw_to_rgb
from rsd_planner.ros import qos
from rsd_planner.ros.conversions import camera_model_of, ego_state_of, stamp_ns
from rsd_planner.ros.frames import BaseFrame
from rsd_planner.ros.lean_images import make_lean, taker_of
from rsd_planner.types import CameraModel, Frame
from rsd_planner.worker.session import PlanningSession

__all__ = ["Inputs"]

InvalidHandle = rclpy_implementation.InvalidHandle  # its public name differs between versions
MOST_LOGGED = 50  # a fuzzer must not fill the disk


class Inputs:
    """Created at configure, destroyed at cleanup."""

    def __init__(
        self,
        node: Any,
        settings: PlannerSettings,
        session: PlanningSession,
        complain: Callable[[str], None],
        enough_px: int | None = None,
    ) -> None:
        """`enough_px`: how many pixels of a picture the model looks at, where that is known."""
        self._node = node
        self._enough_px = enough_px
        self._settings = settings
        self._session = session
        self._complain = complain
        self._lock = threading.Lock()
        self._logged: set[tuple[str, str]] = set()
        self._base = BaseFrame(node, settings, node.get_logger().info)
        self._subscriptions: list[Any] = []
        self.topics: dict[str, str] = {}  # resolved, by input
        self.camera_models: dict[str, CameraModel] = {}
        for camera in settings.all_cameras:
            self._subscribe_camera(camera)
        group = MutuallyExclusiveCallbackGroup()
        self.topics["odometry"] = self._subscribe(
            Odometry, "~/input/odometry", "odometry", self._on_odometry, qos.odometry_qos(), group
        )
        self._subscribe(
            String, "~/input/navigation", "navigation", self._on_navigation, qos.text_qos(), group
        )

    def destroy(self) -> None:
        """Takes the subscriptions away."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions.clear()

    def _subscribe_camera(self, camera: str) -> None:
        group = MutuallyExclusiveCallbackGroup()  # cameras are read side by side
        base = f"~/input/camera/{camera}"
        compressed = self._settings.camera_compressed
        kind = CompressedImage if compressed else Image
        topic = f"{base}/image/compressed" if compressed else f"{base}/image"

        def on_picture(message: Any) -> None:
            self._on_picture(camera, message)

        def on_info(message: CameraInfo) -> None:
            model = camera_model_of(message, self._settings.camera_pose(camera))
            if model is not None:
                self.camera_models[camera] = model

        self.topics[camera] = self._subscribe(
            kind, topic, camera, on_picture, qos.camera_qos(), group
        )
        self._subscribe(
            CameraInfo, f"{base}/camera_info", f"{camera}.info", on_info, qos.camera_qos(), group
        )

    def _subscribe(
        self,
        kind: type,
        topic: str,
        name: str,
        callback: Callable[[Any], None],
        profile: Any,
        group: MutuallyExclusiveCallbackGroup,
    ) -> str:
        resolved: str = self._node.resolve_topic_name(topic)

        def guarded(message: Any) -> None:
            try:
                callback(message)
            except Exception as error:  # whatever a message can provoke, the node lives on
                self._note_error(name, error)

        def drained(message: Any) -> None:
            # The executor rebuilds its wait set for every message; on a crowded machine fast
            # odometry would queue up and be seconds old. So one turn takes all that is there.
            guarded(message)
            handle = taker_of(subscription).handle
            for _ in range(profile.depth):
                try:
                    with handle:
                        taken = handle.take_message(kind, False)
                except InvalidHandle:  # a transition has just taken the subscription away
                    return
                if taken is None:
                    return
                guarded(taken[0])

        subscription = self._node.create_subscription(
            kind,
            topic,
            drained,
            profile,
            callback_group=group,
            **qos.subscription_options(resolved, self._complain),
        )
        if kind is Image:
            make_lean(subscription)
        self._subscriptions.append(subscription)
        return resolved

    def _on_picture(self, camera: str, message: Any) -> None:
        stamp = stamp_ns(message.header.stamp)
        if self._settings.camera_compressed:
            picture = packed_picture(message.data, message.format, self._enough_px)
            self._session.add_frame(PackedFrame(camera, stamp, picture))
            return
        image = raw_to_rgb(
            message.data,
            message.encoding,
            message.height,
            message.width,
            message.step,
            self._enough_px,
        )
        self._session.add_frame(Frame(camera, stamp, image))

    def _on_odometry(self, message: Odometry) -> None:
        base = self._base.pose_in(message.child_frame_id)
        state = ego_state_of(message, base)
        self._session.add_state(state, message.header.frame_id, message.child_frame_id)

    def _on_navigation(self, message: String) -> None:
        self._session.set_navigation(message.data)

    def _note_error(self, name: str, error: Exception) -> None:
        why = str(error) or type(error).__name__
        self._session.refuse(name, why)
        with self._lock:
            first = (name, why) not in self._logged and len(self._logged) < MOST_LOGGED
            if first:
                self._logged.add((name, why))
        if first:
            self._node.get_logger().warning(f"{name}: {why} (from now on this is only counted)")
