"""A worker whose planner does what the route hint says, for tests of everything around it.

It is a real worker process with the real server; only the planner is made up. Hints:
`sleep S`, `hang`, `die`, `raise`, `nan`, `displaced`, `eat MB`, `other tick`, `print TEXT`;
anything else plans.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from pathlib import Path

import numpy as np
from results import result_at

from rsd_planner.config import PlannerSettings
from rsd_planner.types import Observation, PlanResult, Trajectory

# The interpreter of all workers in the tests: set it to try a node and a worker apart.
WORKER_PYTHON = os.environ.get("RSD_TEST_WORKER_PYTHON", sys.executable)
LOAD_S = "RSD_TEST_LOAD_S"  # seconds that the fake takes to load
FAIL_LOAD = "RSD_TEST_FAIL_LOAD"  # the text with which it fails to


class FakePlanner:
    """Goes straight on at the speed of the odometry; its text tells what it saw."""

    def __init__(self, settings: PlannerSettings) -> None:
        self.resets = 0

    def warm_up(self) -> None:
        if os.environ.get(FAIL_LOAD):
            raise RuntimeError(os.environ[FAIL_LOAD])
        time.sleep(float(os.environ.get(LOAD_S, "0")))

    def reset(self) -> None:
        self.resets += 1

    def plan(self, observation: Observation) -> PlanResult:
        order, _, value = observation.navigation.partition(" ")
        if order == "sleep":
            time.sleep(float(value))
        elif order == "hang":
            time.sleep(3600)
        elif order == "die":
            print("the fake worker dies", file=sys.stderr, flush=True)
            os._exit(7)
        elif order == "raise":
            raise RuntimeError("the fake planner raises")
        elif order == "eat":
            self.eaten = np.ones(int(value) * 1_000_000, np.uint8)
        elif order == "print":
            print(value, flush=True)
        ego = observation.history.now
        trajectory = gentle(float(ego.linear_mps[0]), float(ego.angular_radps[2]))
        if order == "nan":
            trajectory = dataclasses.replace(trajectory, speed_mps=np.full(64, np.nan))
        elif order == "displaced":
            moved = trajectory.position_m + np.array([0.0, 9.0, 0.0])
            trajectory = dataclasses.replace(trajectory, position_m=moved)
        brightness = [int(f.image.mean()) for f in observation.frames]
        return dataclasses.replace(
            result_at(observation.t0_ns, observation.tick + (order == "other")),
            ego=ego,
            trajectory=trajectory,
            text=f"keep speed: {brightness}, {self.resets} resets, {len(brightness)} frames",
            missing=observation.missing,
        )


def gentle(speed: float, yaw_rate: float) -> Trajectory:
    """Constant speed and yaw rate."""
    time_s = 0.1 * np.arange(1, 65)
    turn = yaw_rate * time_s
    if abs(yaw_rate) > 1e-6:
        x, y = speed / yaw_rate * np.sin(turn), speed / yaw_rate * (1 - np.cos(turn))
    else:
        x, y = speed * time_s, 0.0 * time_s
    ones = np.ones(64)
    curvature = yaw_rate / speed if speed > 0.5 else 0.0
    position = np.stack([x, y, 0.0 * x], axis=1)
    return Trajectory(0.1, position, turn, speed * ones, 0.0 * ones, curvature * ones, 0.1)


def write_fake_worker(folder: Path) -> str:
    """An executable to set as `worker_python`."""
    script = folder / "fake_worker_python"
    here = Path(__file__).resolve().parent
    script.write_text(
        f"#!{WORKER_PYTHON}\n"
        "import os, sys\n"
        f"sys.path[:0] = [{str(here.parents[1])!r}, {str(here)!r}]\n"
        "from fakes import FakePlanner\n"
        "from rsd_planner.worker.server import main\n"
        "assert sys.argv[1:3] == ['-m', 'rsd_planner.worker.server']\n"
        "os._exit(main(sys.argv[3:], build=FakePlanner))\n"
    )
    script.chmod(0o755)
    return str(script)
