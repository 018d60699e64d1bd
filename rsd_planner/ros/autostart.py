"""Configures and activates a lifecycle node, for the launch files: autostart /rsd_planner

Asks the node itself for its state, again and again with a timeout: after a crash the dead
node's services stay known to DDS for some seconds, and a request that only they see is never
answered. Ends when the node is active, or says why it will not be.
"""

from __future__ import annotations

import sys
import time

from rclpy.node import Node

from rsd_planner.ros.launch_step import run_step
from rsd_planner.ros.lifecycle_client import LifecycleClient, RefusedError, TransitionError

__all__ = ["bring_up", "main"]

ANSWER_S = 1.0
TRANSITION_S = 10.0
NEXT = {"unconfigured": "configure", "inactive": "activate"}


def bring_up(node: Node, target: str, timeout_s: float) -> None:
    """Take the target to active. Raises TransitionError where that fails."""
    client = LifecycleClient(node, target)
    until = time.monotonic() + timeout_s
    problem = TransitionError(f"The node's services did not appear within {timeout_s:g} s.")
    while time.monotonic() < until:
        try:
            state = client.state(ANSWER_S)
            if state == "active":
                return
            if state == "finalized":
                raise RefusedError("The node is finalized: end its process and start it anew.")
            if state in NEXT:
                _step(client, state)
            else:
                time.sleep(0.1)  # a transition is under way
        except RefusedError:
            raise
        except TransitionError as error:
            problem = error
    raise problem


def _step(client: LifecycleClient, state: str) -> None:
    """One transition. Refused, it is still no failure if somebody else was faster."""
    try:
        client.transition(NEXT[state], TRANSITION_S)
    except RefusedError:
        if client.state(ANSWER_S) == state:
            raise


def main(arguments: list[str] | None = None) -> int:
    """Bring one node up; the exit code is 1 where it stays down."""
    try:
        return run_step("autostart", __doc__, bring_up, 60.0, arguments)
    except KeyboardInterrupt:
        return 0  # whoever stops the launch stops it rightly


if __name__ == "__main__":
    sys.exit(main())
