"""A ROS domain of its own for this run, and nodes that end with their test."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rsd_planner.commands._dds_memory import sweep

sys.path.insert(0, str(Path(__file__).parent))

# Before rclpy is imported: nobody else's nodes are seen, and none of ours are seen by others.
os.environ["ROS_DOMAIN_ID"] = str(random.SystemRandom().randint(10, 100))
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_LOCALHOST_ONLY"] = "1"  # the same for Humble


@pytest.fixture(scope="session", autouse=True)
def swept() -> Iterator[None]:
    """Nodes that tests kill cannot give their shared memory back: 70 MB each."""
    sweep()
    yield
    sweep()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Starts a node with a made-up worker and these parameters."""
    from ros_harness import Harness

    made: list[Harness] = []

    def make(**parameters: object) -> Harness:
        made.append(Harness(tmp_path, parameters))
        return made[-1]

    yield make
    for harness in made:
        harness.close()


@pytest.fixture(scope="module")
def planning_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One node that plans, for the tests that leave it as they found it."""
    from ros_harness import Harness

    harness = Harness(tmp_path_factory.mktemp("shared"), {})
    harness.start_planning()
    yield harness
    harness.close()


@pytest.fixture
def node(planning_node: Any) -> Any:
    """The shared node, active and planning."""
    planning_node.recover()
    return planning_node
