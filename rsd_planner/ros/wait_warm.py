"""Waits until a planner is active and its model warm, for the launch files: wait_warm /rsd_planner

Changes nothing in the node. A worker that fails to load is started anew by the node, so a
fault is told and waited out until the time is over.
"""

from __future__ import annotations

import sys
import time

import rclpy
from rclpy.node import Node

from rsd_planner.msg import PlannerStatus
from rsd_planner.ros.launch_step import run_step
from rsd_planner.ros.lifecycle_client import LifecycleClient, TransitionError
from rsd_planner.ros.qos import status_qos

__all__ = ["is_warm", "main", "wait_until_warm"]

ANSWER_S = 1.0


def wait_until_warm(node: Node, target: str, timeout_s: float) -> None:
    """Returns once a bag may start. Raises TransitionError with the last reason otherwise."""
    client = LifecycleClient(node, target)
    seen: list[PlannerStatus] = []
    subscription = node.create_subscription(
        PlannerStatus, f"{target}/output/status", seen.append, status_qos()
    )
    told = ""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        rclpy.spin_once(node, timeout_sec=0.1)
        status = seen[-1] if seen else None
        del seen[:-1]
        if status is None:
            continue
        reason = "; ".join(status.reasons)
        if status.state == PlannerStatus.FAULT and reason != told:
            told = reason
            node.get_logger().warning(reason)
        if is_warm(status) and _is_active(client):
            node.destroy_subscription(subscription)
            return
    last = "; ".join(seen[-1].reasons) if seen else "no status came"
    raise TransitionError(f"{target} was not ready within {timeout_s:g} s: {last}")


def is_warm(status: PlannerStatus) -> bool:
    """Whether the model is loaded, in whatever state the node is.

    A moving car is braked while the model loads: only the reasons tell of it then. Without a
    worker's generation it is what the node said before it was configured.
    """
    return bool(
        status.worker_generation
        and status.state not in (PlannerStatus.LOADING, PlannerStatus.FAULT)
        and not any(
            reason.startswith("the model is loading") or reason.endswith("(restarting)")
            for reason in status.reasons
        )
    )


def _is_active(client: LifecycleClient) -> bool:
    try:
        return client.state(ANSWER_S) == "active"
    except TransitionError:
        return False


def main(arguments: list[str] | None = None) -> int:
    """Wait for one node; the exit code is 1 where it does not get ready."""
    return run_step("wait_warm", __doc__, wait_until_warm, 120.0, arguments)


if __name__ == "__main__":
    sys.exit(main())
