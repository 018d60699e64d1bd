"""What the launch files share. ROS's launch system is needed where a process is described."""

from __future__ import annotations

from typing import Any

__all__ = ["NODE", "enclave", "pairs", "step"]

NODE = "rsd_planner"


def pairs(argument: str, text: str, form: str) -> dict[str, str]:
    """The entries of `a=b,c=d`."""
    found = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        name, equals, topic = (part.strip() for part in entry.partition("="))
        if not equals or not name or not topic:
            raise RuntimeError(f"{argument}: '{entry}' is not of the form {form}")
        found[name] = topic
    return found


def enclave(path: str) -> list[str]:
    """The ROS arguments for a security enclave; none where it is not asked for."""
    return ["--enclave", path] if path else []


def step(executable: str, namespace: str, security: str, *arguments: str) -> Any:
    """A process that does one thing with the planner and ends; `security` is the planner's."""
    from launch_ros.actions import Node

    name = "/" + "/".join(filter(None, (namespace.strip("/"), NODE)))
    return Node(
        package=NODE,
        executable=executable,
        arguments=[name, *arguments],
        ros_arguments=enclave(security and f"{security}_autostart"),
        output="screen",
    )
