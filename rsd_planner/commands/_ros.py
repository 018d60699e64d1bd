"""Whether ROS is there, and a domain of its own for who runs nodes."""

from __future__ import annotations

import importlib.util
import os
import secrets

from rsd_planner.errors import CommandError

__all__ = ["enter_domain", "require_ros"]


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


def enter_domain(asked: int | None) -> int:
    """A ROS domain for this command alone, on this machine alone; children inherit it."""
    if asked is not None and not 0 <= asked <= 232:
        raise CommandError(f"--domain is {asked}; ROS has the domains 0 to 232.")
    domain = asked if asked is not None else 20 + secrets.randbelow(80)
    os.environ["ROS_DOMAIN_ID"] = str(domain)
    os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
    os.environ["ROS_LOCALHOST_ONLY"] = "1"  # what Humble calls it
    return domain
