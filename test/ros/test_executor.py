"""The node's executor hands out each piece of work once."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")

from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402
from std_msgs.msg import String  # noqa: E402

from rsd_planner.ros.executor import PatientExecutor  # noqa: E402

pytestmark = pytest.mark.ros

RATE_HZ = 100.0
SECONDS = 1.5


def test_work_is_handed_out_about_as_often_as_it_is_done() -> None:
    """The stock executor hands out ten times as much on a free core, and hears a fraction."""
    context = Context()
    rclpy.init(context=context)
    node = Node("patience", context=context)
    handed, done = [0], [0]

    class Counting(PatientExecutor):
        def wait_for_ready_callbacks(self, *arguments: Any, **keywords: Any) -> Any:
            work = super().wait_for_ready_callbacks(*arguments, **keywords)
            handed[0] += 1
            return work

    def count(_: Any = None) -> None:
        done[0] += 1

    executor = Counting(num_threads=4, context=context)
    executor.add_node(node)
    publisher = node.create_publisher(String, "patience", 10)
    node.create_subscription(String, "patience", count, 10)

    def tick() -> None:
        publisher.publish(String())
        count()

    node.create_timer(1 / RATE_HZ, tick)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    time.sleep(SECONDS)
    executor.shutdown(timeout_sec=1.0)
    thread.join(timeout=2.0)
    node.destroy_node()
    rclpy.shutdown(context=context)
    assert done[0] > 0.5 * 2 * RATE_HZ * SECONDS
    assert handed[0] < 1.5 * done[0] + 20
