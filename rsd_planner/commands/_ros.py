"""Whether ROS is there, said in a sentence for who runs a command without it."""

from __future__ import annotations

import importlib.util

from rsd_planner.errors import CommandError

__all__ = ["require_ros"]


def require_ros() -> None:
    """Raises CommandError where rclpy or the package's messages cannot be imported."""
    if importlib.util.find_spec("rclpy") is None:
        raise CommandError(
            "ROS 2 is not in this environment; source a ROS 2 installation, or run `make setup` "
            "and use .venv/bin/rsd."
        )
    if importlib.util.find_spec("rsd_planner.msg") is None:
        raise CommandError(
            "The messages of rsd_planner are not built; run `make build` (or colcon build) and "
            "source install/setup.bash."
        )
