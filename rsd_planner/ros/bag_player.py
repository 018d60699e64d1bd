"""Publishes the messages of a bag at their recorded times, as bytes, without decoding them.

For machines on which `ros2 bag` is not installed. Time runs on a steady clock from the first
message on; `/clock` is published beside it if asked. Assumes message packages that can be
imported for the topics that it plays.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock

__all__ = ["BagPlayer", "PlaySettings"]

_CLOCK_STEP_NS = 25_000_000  # of the bag; of the wall where the bag is played more slowly


@dataclass(frozen=True)
class PlaySettings:
    """How to play. `remaps` gives a topic another name, `skip` leaves topics out."""

    rate: float = 1.0
    clock: bool = False
    remaps: Mapping[str, str] | None = None
    skip: frozenset[str] = frozenset()


class BagPlayer(Node):
    """Plays raw messages: anything with `log_time_ns`, `topic` and `data`."""

    def __init__(self, types: Mapping[str, str], settings: PlaySettings) -> None:
        """`types` maps the bag's topics to type names such as `nav_msgs/msg/Odometry`."""
        super().__init__("rsd_bag_player")
        self._settings = settings
        self._topics = {
            topic: self._make_publisher(topic, kind)
            for topic, kind in types.items()
            if topic not in settings.skip
        }
        self._clock_topic = self.create_publisher(Clock, "/clock", 10) if settings.clock else None
        self.published = 0
        self.latest_ms = 0.0  # the worst that a message was late

    def _make_publisher(self, topic: str, kind: str) -> Any:
        latched = topic == "/tf_static"
        profile = QoSProfile(
            depth=100,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
        )
        name = (self._settings.remaps or {}).get(topic, topic)
        return self.create_publisher(_message_class(kind), name, profile)

    def wait_for_subscribers(self, count: int, timeout_s: float) -> bool:
        """Whether so many listen to every topic but `/tf_static`, in time."""
        until = time.monotonic() + timeout_s
        wanted = [pub for topic, pub in self._topics.items() if topic != "/tf_static"]
        while time.monotonic() < until:
            if all(publisher.get_subscription_count() >= count for publisher in wanted):
                return True
            time.sleep(0.05)
        return False

    def play(self, messages: Iterable[Any], stopped: Callable[[], bool]) -> bool:
        """Publish in order of log time; False if it was stopped before the end."""
        start_ns: int | None = None
        began = time.monotonic()
        clock_ns = 0
        for message in messages:
            if message.topic not in self._topics:
                continue
            if start_ns is None:
                start_ns = clock_ns = message.log_time_ns
            while True:
                now_ns = start_ns + int((time.monotonic() - began) * 1e9 * self._settings.rate)
                if self._clock_topic is not None and clock_ns <= min(now_ns, message.log_time_ns):
                    self._publish_clock(clock_ns)
                    clock_ns += int(_CLOCK_STEP_NS * min(1.0, self._settings.rate))
                    continue
                if now_ns >= message.log_time_ns:
                    break
                if stopped():
                    return False
                wait_s = (message.log_time_ns - now_ns) / 1e9 / self._settings.rate
                time.sleep(min(wait_s, 0.005))
            if stopped():
                return False
            late_ms = (now_ns - message.log_time_ns) / 1e6 / self._settings.rate
            self.latest_ms = max(self.latest_ms, late_ms)
            self._topics[message.topic].publish(message.data)
            self.published += 1
        return True

    def _publish_clock(self, stamp_ns: int) -> None:
        message = Clock()
        message.clock.sec, message.clock.nanosec = divmod(stamp_ns, 1_000_000_000)
        assert self._clock_topic is not None
        self._clock_topic.publish(message)


def _message_class(kind: str) -> type:
    """The class of a type name such as `nav_msgs/msg/Odometry`."""
    package, _, name = kind.split("/")
    found: type = getattr(importlib.import_module(f"{package}.msg"), name)
    return found
