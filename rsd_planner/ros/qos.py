"""Quality of service of every topic, and what to say when the other side asks for another.

Works with the names of Humble up to the newest rclpy: event classes moved between modules.
Profiles are made anew for each topic, because overrides change them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

try:
    from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
except ImportError:  # before Iron
    from rclpy.qos_event import PublisherEventCallbacks, SubscriptionEventCallbacks

__all__ = [
    "camera_qos",
    "odometry_qos",
    "output_qos",
    "publisher_options",
    "status_qos",
    "subscription_options",
    "text_qos",
]


def _profile(reliability: ReliabilityPolicy, depth: int, keep: bool = False) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=reliability,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if keep else DurabilityPolicy.VOLATILE,
    )


def camera_qos() -> QoSProfile:
    """Pictures: the newest counts, a lost one is not sent again."""
    return _profile(ReliabilityPolicy.BEST_EFFORT, 5)


def odometry_qos() -> QoSProfile:
    """Odometry: a second of it at 100 Hz."""
    return _profile(ReliabilityPolicy.BEST_EFFORT, 100)


def text_qos() -> QoSProfile:
    """Route hints: few and none may be lost."""
    return _profile(ReliabilityPolicy.RELIABLE, 1)


def output_qos() -> QoSProfile:
    """Outputs of a tick: the newest one, surely."""
    return _profile(ReliabilityPolicy.RELIABLE, 1)


def status_qos() -> QoSProfile:
    """The status: also for who subscribes late."""
    return _profile(ReliabilityPolicy.RELIABLE, 1, keep=True)


def subscription_options(topic: str, complain: Callable[[str], None]) -> dict[str, Any]:
    """Keyword arguments of `create_subscription`: overrides by parameter, mismatches named."""

    def incompatible(event: Any) -> None:
        policy = _policy_name(event)
        complain(
            f"{topic}: a publisher offers another {policy}; set "
            f"qos_overrides.{topic}.subscription.{policy.lower()}"
        )

    return {
        "qos_overriding_options": QoSOverridingOptions.with_default_policies(),
        "event_callbacks": SubscriptionEventCallbacks(incompatible_qos=incompatible),
    }


def publisher_options(topic: str, complain: Callable[[str], None]) -> dict[str, Any]:
    """Keyword arguments of `create_publisher`: overrides by parameter, mismatches named."""

    def incompatible(event: Any) -> None:
        policy = _policy_name(event)
        complain(
            f"{topic}: a subscriber asks for another {policy}; set "
            f"qos_overrides.{topic}.publisher.{policy.lower()} or change the subscriber"
        )

    return {
        "qos_overriding_options": QoSOverridingOptions.with_default_policies(),
        "event_callbacks": PublisherEventCallbacks(incompatible_qos=incompatible),
    }


def _policy_name(event: Any) -> str:
    name = str(qos_policy_name_from_kind(event.last_policy_kind))
    return name.replace("_QOS_POLICY", "").replace("RMW_", "").replace("QOS_POLICY_", "")
