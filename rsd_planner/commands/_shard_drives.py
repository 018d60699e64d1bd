"""Turns shards of `rsd data` into observations, tick by tick, beside what is true there.

Pictures lie in a shard as the model sees them, at the shard's own rate. A tick takes the newest
picture at its instant, so any rate up to the shard's is possible; a higher one is not.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rsd_planner.config import PlannerSettings
from rsd_planner.errors import CommandError
from rsd_planner.model_requirements import ModelRequirements
from rsd_planner.training.data import DriveSet
from rsd_planner.types import NANOSECONDS, Frame, Observation

__all__ = ["ShardDrive", "open_shards"]

_SLACK_NS = 1_000_000


@dataclass
class ShardDrive:
    """One drive of a folder of shards, read as often as needed."""

    data: DriveSet
    index: int
    path: Path
    skipped: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        """The shard's name."""
        return self.data.drives[self.index].name

    def image_size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        return self.data.picture_size

    def observations(
        self, settings: PlannerSettings, requirements: ModelRequirements, rate_hz: float
    ) -> Iterator[Observation]:
        """One observation a tick, of frames whose history and future are whole.

        Raises CommandError where the shard's pictures do not come as the model wants them.
        """
        self.skipped.clear()
        rows = np.flatnonzero(self.data.drive == self.index)
        stamps = self.data.stamps_ns[rows]
        step_ns = int(np.median(np.diff(stamps))) if len(stamps) > 1 else NANOSECONDS
        self._check(requirements, rate_hz, step_ns)
        count = requirements.frames_per_camera
        usable = self.data.learned[rows] & (np.arange(len(rows)) >= count - 1)
        (chosen,) = np.nonzero(usable)
        camera = settings.all_cameras[0]
        for tick, place in enumerate(chosen[_at_rate(stamps[chosen], rate_hz)], start=1):
            yield self._observation(tick, rows[place - count + 1 : place + 1], camera, requirements)

    def driven(
        self, observation: Observation, points: int, step_s: float
    ) -> NDArray[np.float64] | None:
        """Where the car went (points, 3), in the ego frame at t0; None on another time grid."""
        future = self.data.future_xyz[self._frame_at(observation.t0_ns)]
        same_grid = abs(step_s - observation.history.step_s) < 1e-6
        return future[:points].astype(np.float64) if same_grid else None

    def novel(self, stamps_ns: Sequence[int]) -> tuple[bool, ...]:
        """Which instants come within a second after the true causes changed."""
        return tuple(bool(self.data.novel[self._frame_at(stamp)]) for stamp in stamps_ns)

    def _frame_at(self, stamp_ns: int) -> int:
        (found,) = np.nonzero((self.data.drive == self.index) & (self.data.stamps_ns == stamp_ns))
        return int(found[0])

    def _check(self, requirements: ModelRequirements, rate_hz: float, step_ns: int) -> None:
        own_hz = NANOSECONDS / step_ns
        if rate_hz > own_hz * 1.001:
            raise CommandError(
                f"--hz is {rate_hz:g}, but {self.path} holds pictures at {own_hz:g} Hz; "
                f"choose {own_hz:g} or less, or measure a bag."
            )
        if abs(requirements.frame_interval_s * NANOSECONDS - step_ns) > _SLACK_NS:
            raise CommandError(
                f"the model wants pictures {requirements.frame_interval_s:g} s apart, those of "
                f"{self.path} are {step_ns / NANOSECONDS:g} s apart; measure a bag."
            )
        steps, asked = self.data.history_xyz.shape[1], requirements.history_steps
        if steps != asked:
            raise CommandError(
                f"the model reads a history of {asked} steps, {self.path} holds {steps}."
            )

    def _observation(
        self, tick: int, frames: NDArray[np.int64], camera: str, requirements: ModelRequirements
    ) -> Observation:
        now = int(frames[-1])
        history = self.data.ego_history(now, requirements.history_step_s)
        pictures = self.data.pictures(frames)
        shown = tuple(
            Frame(camera, int(self.data.stamps_ns[frame]), picture)
            for frame, picture in zip(frames, pictures)
        )
        return Observation(tick, history.t0_ns, shown, history)


def open_shards(folder: Path, limit: int | None = None) -> list[ShardDrive]:
    """The first `limit` drives of a folder of shards, or all.

    Raises CommandError where there are none whose pictures follow each other.
    """
    inner = folder / "heldout"
    data = DriveSet(inner if inner.is_dir() else folder, limit)
    data.require_whole_drives()
    return [ShardDrive(data, index, folder) for index in range(len(data.drives))]


def _at_rate(stamps_ns: NDArray[np.int64], rate_hz: float) -> NDArray[np.int64]:
    """Indices of the newest stamp at each instant of a rate, each once."""
    if len(stamps_ns) == 0:
        return np.zeros(0, np.int64)
    span_ns = int(stamps_ns[-1] - stamps_ns[0]) + _SLACK_NS
    count = int(span_ns * rate_hz / NANOSECONDS) + 1
    instants = stamps_ns[0] + np.round(np.arange(count) * NANOSECONDS / rate_hz).astype(np.int64)
    return np.unique(np.searchsorted(stamps_ns, instants + _SLACK_NS, side="right") - 1)
