"""Raw pictures that rcl takes without Python's lock are those that rclpy would have given."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")

from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.qos import QoSProfile  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402

from rsd_planner.ros import lean_images  # noqa: E402
from rsd_planner.ros.executor import PatientExecutor  # noqa: E402
from rsd_planner.ros.lean_images import LeanImage, make_lean, taker_of  # noqa: E402

pytestmark = pytest.mark.ros

FIELDS = ("header", "height", "width", "encoding", "is_bigendian", "step")


def images() -> list[Image]:
    """Pictures of all sizes, with what an odd driver may write beside them."""
    rng = np.random.default_rng(0)
    made = []
    for number, size in enumerate((0, 1, 3, 1000, 640 * 480 * 3, 1920 * 1080 * 3, 0, 7)):
        image = Image(height=number, width=2 * number, step=size, is_bigendian=number % 2)
        image.header.frame_id = ("", "camera", "caméra/前")[number % 3]
        image.header.stamp.sec, image.header.stamp.nanosec = number - 2, 999_999_999 - number
        image.encoding = ("rgb8", "", "bgr8; 中")[number % 3]
        image.data = rng.integers(0, 256, size, np.uint8).tobytes()
        made.append(image)
    return made


@pytest.fixture
def node() -> Iterator[Node]:
    context = Context()
    rclpy.init(context=context)
    node = Node("lean", context=context)
    executor = PatientExecutor(num_threads=4, context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    yield node
    executor.shutdown(timeout_sec=1.0)
    thread.join(timeout=2.0)
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_this_systems_messages_lie_as_expected() -> None:
    """Elsewhere rclpy takes the pictures; here it must not come to that unseen."""
    assert lean_images._library() is not None


def test_lean_pictures_are_those_of_rclpy(node: Node) -> None:
    profile = QoSProfile(depth=20)
    plain: list[Any] = []
    lean: list[Any] = []
    node.create_subscription(Image, "picture", plain.append, profile)
    make_lean(node.create_subscription(Image, "picture", lean.append, profile))
    publisher = node.create_publisher(Image, "picture", profile)
    until_s = time.monotonic() + 10.0
    while publisher.get_subscription_count() < 2 and time.monotonic() < until_s:
        time.sleep(0.01)
    sent = images()
    for image in sent:
        publisher.publish(image)
        time.sleep(0.05)
    while min(len(plain), len(lean)) < len(sent) and time.monotonic() < until_s:
        time.sleep(0.01)
    assert len(plain) == len(lean) == len(sent)
    for known, theirs, ours in zip(sent, plain, lean, strict=True):
        assert isinstance(ours, LeanImage)
        for field in FIELDS:
            assert getattr(ours, field) == getattr(theirs, field) == getattr(known, field)
        assert bytes(ours.data) == theirs.data.tobytes() == known.data.tobytes()


def test_bytes_live_as_long_as_who_looks_at_them(monkeypatch: pytest.MonkeyPatch) -> None:
    library = lean_images._library()
    assert library is not None
    freed: list[int] = []
    destroy = library._destroy
    monkeypatch.setattr(library, "_destroy", lambda m: (freed.append(m), destroy(m)))
    message = library._create()
    view = library.view(message)
    pixels = np.frombuffer(view.data, np.uint8)
    del view
    gc.collect()
    assert not freed
    del pixels
    gc.collect()
    assert freed == [message]


def test_a_picture_that_is_not_there_is_none(node: Node) -> None:
    subscription = node.create_subscription(Image, "nobody", print, 1)
    assert taker_of(subscription) is subscription
    make_lean(subscription)
    with taker_of(subscription).handle as handle:
        assert handle.take_message(Image, False) is None


def test_an_unknown_layout_leaves_the_pictures_to_rclpy(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    lean_images._library.cache_clear()
    swapped = [("height", *lean_images._Image._fields_[0][1:])]  # all fields lie elsewhere
    swapped += [field for field in lean_images._Image._fields_ if field[0] != "height"]

    class Odd(lean_images.ctypes.Structure):
        _fields_ = swapped

    try:
        monkeypatch.setattr(lean_images, "_Image", Odd)
        subscription = node.create_subscription(Image, "odd", print, 1)
        make_lean(subscription)
        assert taker_of(subscription) is subscription
    finally:
        lean_images._library.cache_clear()
