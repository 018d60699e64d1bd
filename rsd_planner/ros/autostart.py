"""Configures and activates a lifecycle node, for the launch files: autostart /rsd_planner

Asks the node itself for its state, again and again with a timeout: after a crash the dead
node's services stay known to DDS for some seconds, and a request that only they see is never
answered. Ends when the node is active, or says why it will not be.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import rclpy
from rclpy.parameter import Parameter
from rclpy.utilities import remove_ros_args

from rsd_planner.ros.lifecycle_client import LifecycleClient, RefusedError, TransitionError

__all__ = ["bring_up", "main"]

ANSWER_S = 1.0
TRANSITION_S = 10.0
NEXT = {"unconfigured": "configure", "inactive": "activate"}


def bring_up(client: LifecycleClient, timeout_s: float) -> None:
    """Take the node to active. Raises TransitionError where that fails."""
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
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("target", help="full name of the node, such as /rsd_planner")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds (%(default)s)")
    options = parser.parse_args(remove_ros_args(arguments or sys.argv)[1:])
    rclpy.init(args=arguments)
    # Without services of its own: an SROS2 policy cannot list them under a name with a number.
    node = rclpy.create_node(
        f"rsd_planner_autostart_{os.getpid()}",
        start_parameter_services=False,
        parameter_overrides=[Parameter("start_type_description_service", value=False)],
    )
    try:
        bring_up(LifecycleClient(node, options.target), options.timeout)
    except TransitionError as error:
        node.get_logger().error(f"autostart: {error}")
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
