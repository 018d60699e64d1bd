"""Publishers of a tick's outputs. What nobody subscribes to is not computed, if it is a view."""

from __future__ import annotations

import array
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from geometry_msgs.msg import Point
from nav_msgs.msg import Path
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from rsd_planner.config import PlannerSettings
from rsd_planner.msg import DecodeStats, PlannedTrajectory, Reasoning
from rsd_planner.ros import qos
from rsd_planner.ros.conversions import (
    path_message,
    reasoning_message,
    stats_message,
    time_message,
)
from rsd_planner.ros.wire import serialized_trajectory
from rsd_planner.types import CameraModel, PlanResult, PlanSource
from rsd_planner.worker.session import TickOutput

__all__ = ["Outputs"]

COLOURS = {
    PlanSource.MODEL: (0.1, 0.8, 0.4),
    PlanSource.LAST_VALID: (1.0, 0.7, 0.1),
    PlanSource.SAFE_STOP: (0.95, 0.2, 0.2),
}


class Outputs:
    """Created at configure, destroyed at cleanup; the node publishes while it is active."""

    def __init__(
        self, node: Any, settings: PlannerSettings, complain: Callable[[str], None]
    ) -> None:
        self._node = node
        self._publishers: list[Any] = []
        folder = "~/dry_run" if settings.dry_run else "~/output"

        def make(kind: type, topic: str) -> Any:
            options = qos.publisher_options(node.resolve_topic_name(topic), complain)
            publisher = node.create_lifecycle_publisher(kind, topic, qos.output_qos(), **options)
            self._publishers.append(publisher)
            return publisher

        self._trajectory = make(PlannedTrajectory, f"{folder}/trajectory")
        self._path = make(Path, f"{folder}/path")
        self._reasoning = make(Reasoning, "~/output/reasoning")
        self._stats = make(DecodeStats, "~/debug/decode_stats")
        self._markers = make(MarkerArray, "~/debug/markers")
        self._overlay = make(Image, "~/debug/overlay")

    def publish(self, output: TickOutput) -> None:
        """What is followed: nothing else of a tick comes before it."""
        self._trajectory.publish(serialized_trajectory(output.followable, output.frame_id))
        if self._path.get_subscription_count():
            self._path.publish(path_message(output.followable, output.frame_id))

    def publish_text(self, output: TickOutput) -> None:
        """What the model wrote, and what it cost."""
        if output.result is not None:
            self._reasoning.publish(reasoning_message(output.result, output.frame_id))
            self._stats.publish(stats_message(output.result, output.frame_id))

    def publish_views(
        self,
        output: TickOutput,
        cameras: Mapping[str, CameraModel],
    ) -> None:
        """Markers and overlay, for whoever watches."""
        if self._markers.get_subscription_count():
            self._markers.publish(_markers(output))
        picture, result = output.picture, output.result
        if picture is None or result is None or not self._overlay.get_subscription_count():
            return
        camera = cameras.get(picture.camera)
        if camera is not None:
            self._overlay.publish(_overlay(output, result, picture.image, camera))

    def destroy(self) -> None:
        """Takes the topics away."""
        for publisher in self._publishers:
            self._node.destroy_lifecycle_publisher(publisher)
        self._publishers.clear()


def _markers(output: TickOutput) -> MarkerArray:
    followable = output.followable
    red, green, blue = COLOURS[followable.source]

    def marker(number: int, kind: int) -> Marker:
        made = Marker(ns="plan", id=number, type=kind, action=Marker.ADD)
        made.header.stamp = time_message(followable.t0_ns)
        made.header.frame_id = output.frame_id
        made.pose.orientation.w = 1.0
        made.color = ColorRGBA(r=red, g=green, b=blue, a=0.9)
        return made

    line = marker(0, Marker.LINE_STRIP)
    line.scale.x = 0.4
    line.points = [Point(x=x, y=y, z=z) for x, y, z in followable.path.position_m.tolist()]
    if output.result is None:
        return MarkerArray(markers=[line])
    text = marker(1, Marker.TEXT_VIEW_FACING)
    text.scale.z = 0.8
    text.text = output.result.text
    x, y, z = output.result.ego.position_m.tolist()
    text.pose.position = Point(x=x, y=y, z=z + 3.0)
    return MarkerArray(markers=[line, text])


def _overlay(
    output: TickOutput, result: PlanResult, image: NDArray[np.uint8], camera: CameraModel
) -> Image:
    from rsd_planner.viz.overlay import draw_path, scale_camera

    height, width = image.shape[:2]
    drawn = draw_path(
        image,
        scale_camera(camera, width, height),
        result.trajectory.position_m,
        step_s=result.trajectory.step_s,
        source=output.followable.source,
    )
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.header.stamp = time_message(result.t0_ns)
    message.data = array.array("B", drawn.tobytes())  # bytes would be checked one by one
    return message
