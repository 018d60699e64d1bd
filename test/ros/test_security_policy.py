"""The SROS2 policy names exactly the topics and services of the node."""

from __future__ import annotations

import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("rsd_planner.msg")

from ros_harness import ROOT, Harness, crowding

POLICY = Path(__file__).resolve().parents[2] / "config" / "sros2" / "policy.xml"
# Only with use_sim_time, only where tf2 is installed, and services that older distributions lack.
SOMETIMES = {
    "/clock",
    "/tf",
    "/tf_static",
    "/rsd_planner/get_type_description",
    "/rsd_planner/get_transition_graph",
    "/rsd_planner/input/camera/front_wide/image/compressed",  # with camera_compressed
    "/rsd_planner/dry_run/trajectory",  # with dry_run
    "/rsd_planner/dry_run/path",
}
KINDS = (
    ("topics", "subscribe", "topic", "get_subscriber_names_and_types_by_node"),
    ("topics", "publish", "topic", "get_publisher_names_and_types_by_node"),
    ("services", "reply", "service", "get_service_names_and_types_by_node"),
    ("services", "request", "service", "get_client_names_and_types_by_node"),
)


def allowed(group: str, way: str, item: str, node: str = "rsd_planner") -> set[str]:
    root = ElementTree.parse(POLICY).getroot()
    found = root.findall(f".//profile[@node='{node}']/{group}[@{way}='ALLOW']/{item}")
    return {(e.text or "").replace("~/", "/rsd_planner/") for e in found}


def soon(condition: Callable[[], bool]) -> None:
    """Waits for it, at most: endpoints are discovered one by one."""
    until = time.monotonic() + 10.0 * crowding()
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)


@pytest.mark.ros
def test_the_policy_is_that_of_the_running_node(start: Any) -> None:
    node: Harness = start()
    assert node.transition("configure"), node.explain()
    for group, way, item, method in KINDS:
        listed = allowed(group, way, item)

        def used(method: str = method) -> set[str]:
            return {name for name, _ in getattr(node.node, method)("rsd_planner", "/")}

        soon(lambda listed=listed, used=used: listed - used() <= SOMETIMES)
        print(way, sorted(used()))
        assert used() - listed == set(), f"{way}: used and not allowed"
        assert listed - used() <= SOMETIMES, f"{way}: allowed and never used"


@pytest.mark.ros
def test_the_policy_is_that_of_what_the_launch_files_start_beside_it(start: Any) -> None:
    node: Harness = start()
    processes = {}
    for step in ("autostart", "wait_warm"):
        command = [sys.executable, "-m", f"rsd_planner.ros.{step}", "/nobody", "--timeout", "3600"]
        process = subprocess.Popen(command, cwd=ROOT)
        processes[f"rsd_planner_{step}_{process.pid}"] = process

    def used(method: str) -> set[str]:
        found = [item for name in processes for item in getattr(node.node, method)(name, "/")]
        return {topic.replace("/nobody/", "/rsd_planner/") for topic, _ in found}

    try:
        node.wait(lambda: processes.keys() <= set(node.node.get_node_names()))
        for group, way, item, method in KINDS:
            listed = allowed(group, way, item, "rsd_planner_autostart")
            soon(lambda method=method, listed=listed: used(method) == listed)
            assert used(method) == listed, way
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
