"""Turns a bag into the observations that the node would make of it, tick by tick.

Messages arrive at their log times and go through the node's own InputBuffer; ticks come at a
fixed rate from the first message on. No model and no ROS.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rsd_planner.bags import Bag, messages, open_bag
from rsd_planner.config import PlannerSettings, bundled_model_path
from rsd_planner.errors import CommandError
from rsd_planner.evaluation.trajectory import driven_path
from rsd_planner.model_requirements import ModelRequirements
from rsd_planner.planning.ego_history import OdometryTrack
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
    bag: Bag
    camera: str
    image_topic: str
    odometry_topic: str
    model: CameraModel | None  # None where the bag does not say how the camera sees
    odometry_frame: str = "odom"
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """The bag's folder name."""
        return self.path.resolve().name

    def frames(self) -> Iterator[Frame]:
        """The pictures in order of their stamps."""
        yield from self.bag.read_frames(self.image_topic)

    def states(self) -> list[EgoState]:
        """The odometry, sorted by stamp; of equal stamps the last."""
        found = {s.stamp_ns: s for s in self.bag.read_odometry(self.odometry_topic)}
        return [found[stamp] for stamp in sorted(found)]

    def image_size(self) -> tuple[int, int]:
        """Height and width of the first picture. Raises CommandError where there is none."""
        for frame in self.frames():
            return frame.image.shape[0], frame.image.shape[1]
        raise CommandError(f"{self.path} holds no pictures on {self.image_topic}.")

    def observations(
        self, settings: PlannerSettings, requirements: ModelRequirements, rate_hz: float
    ) -> Iterator[Observation]:
        """One observation a tick; ticks without one are counted in `skipped` by reason."""
        self.skipped.clear()
        buffer = InputBuffer(settings, requirements)
        step_ns = round(1e9 / rate_hz)
        tick, next_ns = 0, self.bag.start_ns + step_ns
        for arrived_ns, message in self._arrivals():
            while arrived_ns > next_ns:
                tick += 1
                made = buffer.snapshot(next_ns, tick)
                next_ns += step_ns
                if isinstance(made, NotReady):
                    self.skipped[made.reasons[0]] += 1
                else:
                    yield made
            if isinstance(message, Frame):
                buffer.add_frame(message, arrived_ns)
            else:
                buffer.add_state(message, arrived_ns)

    def driven(
        self, observation: Observation, points: int, step_s: float
    ) -> NDArray[np.float64] | None:
        """Where the car went (points, 3), in the ego frame at t0; None past the record's end."""
        ego = observation.history.now
        return driven_path(self._track, ego, observation.t0_ns, points, step_s)

    def novel(self, stamps_ns: Sequence[int]) -> None:
        """None: a bag says nothing of causes."""

    @cached_property
    def _track(self) -> OdometryTrack:
        return OdometryTrack(self.states())

    def _arrivals(self) -> Iterator[tuple[int, EgoState | Frame]]:
        """Messages as they came in, with the log time: late and out of order where they were."""
        for raw in self.bag.messages({self.image_topic, self.odometry_topic}):
            message = messages.TYPES.deserialize_cdr(raw.data, raw.type_name)
            if raw.topic == self.odometry_topic:
                yield raw.log_time_ns, messages.ego_state_of(message)
            else:
                yield raw.log_time_ns, messages.frame_of(message, raw.type_name, self.camera)


def open_drive(
    path: Path, camera: str, image_topic: str | None = None, odometry_topic: str | None = None
) -> BagDrive:
    """A bag with pictures and odometry; topics that are not named are found.

    Raises BagError for what is missing or damaged.
    """
    bag = open_bag(path)
    images = bag.image_topic(image_topic or camera)
    odometry = bag.odometry_topic(odometry_topic)
    return BagDrive(
        path=path,
        bag=bag,
        camera=camera,
        image_topic=images,
        odometry_topic=odometry,
        model=bag.camera_model(images),
        odometry_frame=bag.odometry_frames(odometry)[0],
    )
