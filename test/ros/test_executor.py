"""The node's executor hands out each piece of work once."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

rclpy = pytest.importorskip("rclpy", reason="needs ROS 2")

from rclpy.context import Context  # noqa: E402
from rclpy.event_handler import PublisherEventCallbacks  # noqa: E402
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


def test_no_turn_begins_while_it_is_quiet() -> None:
    context = Context()
    rclpy.init(context=context)
    node = Node("quiet", context=context)
    ticks: list[float] = []
    node.create_timer(0.002, lambda: ticks.append(time.monotonic()))
    executor = PatientExecutor(num_threads=2, context=context)
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    spans: list[tuple[float, float]] = []
    for _ in range(30):
        with executor.quiet(), executor.quiet():  # they nest
            time.sleep(0.003)  # a turn that was under way may end
            began = time.monotonic()
            time.sleep(0.006)
            spans.append((began, time.monotonic()))
        time.sleep(0.006)
    executor.shutdown(timeout_sec=1.0)
    thread.join(timeout=2.0)
    node.destroy_node()
    rclpy.shutdown(context=context)
    within = [t for t in ticks if any(a <= t <= b for a, b in spans)]
    assert len(ticks) > 30  # and afterwards it goes on
    assert len(within) < 0.2 * len(ticks)


@pytest.mark.parametrize("moment", ["add_to_wait_set", "take_data"])
def test_what_is_destroyed_while_its_turn_comes_holds_up_nothing(
    moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cleanup runs in the pool: a publisher may go between the executor's looks at its events."""
    context = Context()
    rclpy.init(context=context)
    node = Node("destroying", context=context)
    events = PublisherEventCallbacks(matched=lambda _: None, use_default_callbacks=False)
    publisher = node.create_publisher(String, "gone", 10, event_callbacks=events)
    node.create_subscription(String, "gone", lambda _: None, 10)
    matched = publisher.event_handlers[0]
    plain, reached, ticks = getattr(matched, moment), [0], [0]

    def destroyed_meanwhile(*arguments: Any) -> Any:
        reached[0] += 1
        node.destroy_publisher(publisher)
        return plain(*arguments)

    def count() -> None:
        ticks[0] += 1 if reached[0] else 0

    monkeypatch.setattr(matched, moment, destroyed_meanwhile)
    executor = PatientExecutor(num_threads=2, context=context)
    executor.add_node(node)
    node.create_timer(0.01, count)  # in the callback group of the publisher
    end = time.monotonic() + 20.0
    while ticks[0] < 5 and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.5)
    executor.shutdown(timeout_sec=1.0)
    node.destroy_node()
    rclpy.shutdown(context=context)
    assert reached[0] == 1
    assert ticks[0] >= 5
