"""What the launch files' small processes share: one thing to do with one node, within a time.

Knows nothing of what is done. An interrupt passes through it, and counts as not done.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.utilities import remove_ros_args

from rsd_planner.ros.lifecycle_client import TransitionError

__all__ = ["run_step"]


def run_step(
    name: str,
    what: str | None,
    work: Callable[[Node, str, float], None],
    timeout_s: float,
    arguments: list[str] | None,
) -> int:
    """Do the work on the node that the arguments name; 1 where it raises a TransitionError.

    `work` gets a node to ask with, the target's full name and the seconds that it may take;
    `what` begins with a line for --help, and `timeout_s` is the default.
    """
    parser = argparse.ArgumentParser(description=(what or "").splitlines()[0])
    parser.add_argument("target", help="full name of the node, such as /rsd_planner")
    parser.add_argument("--timeout", type=float, default=timeout_s, help="seconds (%(default)s)")
    options = parser.parse_args(remove_ros_args(arguments or sys.argv)[1:])
    rclpy.init(args=arguments)
    # Without services of its own: an SROS2 policy cannot list them under a name with a number.
    node = rclpy.create_node(
        f"rsd_planner_{name}_{os.getpid()}",
        start_parameter_services=False,
        parameter_overrides=[Parameter("start_type_description_service", value=False)],
    )
    try:
        work(node, options.target, options.timeout)
    except TransitionError as error:
        node.get_logger().error(str(error))
        return 1
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0
