"""Markers and overlay cost nothing while nobody subscribes: nothing is even looked at for them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("rsd_planner.msg")

import rclpy
from rclpy.lifecycle import LifecycleNode
from results import T0_NS, result_at
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from rsd_planner.config import PlannerSettings
from rsd_planner.planning.fallback import Fallback
from rsd_planner.planning.pictures import PackedFrame, PictureError, packed_picture
from rsd_planner.ros.outputs import Outputs
from rsd_planner.types import CameraModel
from rsd_planner.worker.session import TickOutput

CAMERAS = {"front_wide": CameraModel(64, 32, 40.0, 40.0, 32.0, 16.0, np.eye(4))}


class LookedError(Exception):
    """Somebody looked at the path."""


class Untouchable:
    """A path that must not be looked at."""

    def __getattr__(self, name: str) -> Any:
        raise LookedError(name)


def output() -> TickOutput:
    """A tick whose path and picture fail when they are looked at."""
    settings = PlannerSettings.from_mapping({})
    result = result_at()
    followable = Fallback(settings).accept(result, T0_NS)
    object.__setattr__(followable, "path", Untouchable())
    data = bytearray(cv2.imencode(".jpg", np.zeros((32, 64, 3), np.uint8))[1].tobytes())
    at = data.index(b"\xff\xc4") + 5
    data[at : at + 16] = b"\xff" * 16
    picture = PackedFrame("front_wide", T0_NS, packed_picture(bytes(data), "jpeg"))
    return TickOutput(followable, result, "odom", picture)


@pytest.fixture
def node() -> Iterator[LifecycleNode]:
    context = rclpy.Context()
    rclpy.init(context=context)
    made = LifecycleNode("viewed", context=context)
    yield made
    made.destroy_node()
    context.try_shutdown()


def test_views_compute_nothing_without_subscribers(node: LifecycleNode) -> None:
    outputs = Outputs(node, PlannerSettings.from_mapping({}), lambda text: None)
    outputs.publish_views(output(), CAMERAS)
    for kind, topic, failure in (
        (MarkerArray, "markers", LookedError),
        (Image, "overlay", PictureError),
    ):
        subscription = node.create_subscription(kind, f"~/debug/{topic}", lambda message: None, 5)
        publisher = getattr(outputs, f"_{topic}")
        end = time.monotonic() + 20.0
        while not publisher.get_subscription_count():
            assert time.monotonic() < end
            time.sleep(0.05)
        with pytest.raises(failure):
            outputs.publish_views(output(), CAMERAS)
        node.destroy_subscription(subscription)
        while publisher.get_subscription_count():
            assert time.monotonic() < end
            time.sleep(0.05)
    outputs.publish_views(output(), CAMERAS)
    outputs.destroy()
