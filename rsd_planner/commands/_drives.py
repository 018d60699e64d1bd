"""Turns a bag into the observations that the node would make of it, tick by tick.

Messages arrive at their stamps and go through the node's own InputBuffer; ticks come at a
fixed rate from the first message on. No model and no ROS.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rsd_planner.config import PlannerSettings, bundled_model_path
from rsd_planner.errors import CommandError
from rsd_planner.model_requirements import ModelRequirements
from rsd_planner.planning.input_buffer import InputBuffer, NotReady
from rsd_planner.types import CameraModel, EgoState, Frame, Observation

__all__ = ["BagDrive", "bundled_bag_path", "check_rate", "open_drive"]


def bundled_bag_path() -> Path:
    """The bag that comes with the project, beside the bundled model."""
    return Path(bundled_model_path()).parents[1] / "bags" / "street_30s"


def check_rate(rate_hz: float) -> float:
    """The rate itself. Raises CommandError where no planner could run at it."""
    if not 0.1 <= rate_hz <= 50:
        raise CommandError(f"--hz is {rate_hz:g}; choose a rate from 0.1 to 50 ticks a second.")
    return rate_hz


@dataclass
class BagDrive:
    """One bag, read as often as needed. Counts of the last reading are kept."""

    path: Path
    bag: Any
    camera: str
    model: CameraModel | None
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """The bag's folder name."""
        return self.path.name

    def frames(self) -> Iterator[Frame]:
        """The pictures in order of their stamps."""
        yield from self.bag.read_frames(self.camera)

    def states(self) -> Iterator[EgoState]:
        """The odometry in order of its stamps."""
        yield from self.bag.read_odometry()

    def observations(
        self, settings: PlannerSettings, requirements: ModelRequirements, rate_hz: float
    ) -> Iterator[Observation]:
        """One observation a tick; ticks without one are counted in `skipped` by reason."""
        self.skipped.clear()
        buffer = InputBuffer(settings, requirements)
        step_ns = round(1e9 / rate_hz)
        tick, next_ns = 0, -1
        sources: tuple[Iterator[EgoState | Frame], ...] = (self.states(), self.frames())
        for message in heapq.merge(*sources, key=lambda m: m.stamp_ns):
            if next_ns < 0:
                next_ns = message.stamp_ns + step_ns
            while message.stamp_ns > next_ns:
                tick += 1
                made = buffer.snapshot(next_ns, tick)
                next_ns += step_ns
                if isinstance(made, NotReady):
                    self.skipped[made.reasons[0]] += 1
                else:
                    yield made
            if isinstance(message, Frame):
                buffer.add_frame(message, message.stamp_ns)
            else:
                buffer.add_state(message, message.stamp_ns)


def open_drive(path: Path, camera: str) -> BagDrive:
    """A bag with the pictures of a camera and odometry.

    Raises BagError for what is missing or damaged.
    """
    from rsd_planner.bags import open_bag

    bag = open_bag(path)
    return BagDrive(path, bag, camera, bag.camera_model(camera))
