"""Records simulated drives: pictures, ego motion, labels and texts, and writes them as bags.

A recorded drive has a lead-in (for the history) and a run-out (for the path to be learned)
around its labelled frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from rsd_planner.simulation.camera import (
    CAMERA_NAME,
    CameraRenderer,
    front_wide_camera,
)
from rsd_planner.simulation.labels import image_labels, view_of
from rsd_planner.simulation.narrator import Narration, Narrator, View
from rsd_planner.simulation.phrases import Phrases
from rsd_planner.simulation.scene import Drive, Snapshot
from rsd_planner.simulation.text_changes import novel_frames, text_statistics
from rsd_planner.simulation.world import SNAPSHOT_STEP_S, simulate
from rsd_planner.types import CameraModel, EgoState

__all__ = [
    "BAG_START_NS",
    "LEAD_IN_S",
    "RUN_OUT_S",
    "START_NS",
    "DriveSink",
    "RecordedDrive",
    "describe",
    "ego_states",
    "record_clips",
    "record_drive",
    "write_drive",
]

LEAD_IN_S = 2.0
RUN_OUT_S = 7.0
JPEG_QUALITY = 80
EGO_RATE_HZ = 50
_NARRATED_S = 0.2  # between the instants that a narrator is told of
_CLIP_EVERY, _HAZARD_CLIP_EVERY = 10, 5  # of these instants
BAG_START_NS = 1_767_261_600 * 10**9  # a morning in 2026; simulated, so any day will do
START_NS = 1_000_000_000  # stamps of a drive start here; zero is easily taken for "no stamp"


@dataclass(frozen=True)
class RecordedDrive:
    """Everything of one drive. Only `learned` frames are to be learned: the others are their
    past, and the ego motion goes on for `RUN_OUT_S` after the last."""

    drive: Drive
    stamps_ns: NDArray[np.int64]  # (frames,)
    jpegs: tuple[bytes, ...]
    learned: NDArray[np.bool_]  # (frames,)
    classes: NDArray[np.uint8]  # (frames, 128, 256) PixelClass
    labels: NDArray[np.float32]  # (frames, len(LABEL_NAMES))
    narrations: tuple[Narration, ...]
    views: tuple[View, ...]  # what the narrator was told
    novel: NDArray[np.bool_]  # (frames,) within a second after the set of true causes changed

    @property
    def first(self) -> int:
        """The first frame to be learned."""
        return int(np.argmax(self.learned))


def record_drive(
    seed: int, duration_s: float = 30.0, fps: int = 10, network: str | None = None
) -> RecordedDrive:
    """Simulates, draws and tells one drive of `duration_s` labelled seconds."""
    drive, shots = _simulated(seed, duration_s, network, 1.0 / fps)
    rows = np.arange(len(shots))
    return _drawn(drive, shots, rows, rows >= round(LEAD_IN_S * fps))


def record_clips(seed: int, duration_s: float, pictures: int) -> RecordedDrive:
    """One drive in clips of some pictures, 0.2 s apart; the newest of each is to be learned.

    A clip each two seconds, and each second while the expert heeds a hazard. Texts are those of
    the whole drive, since the narrator is told of every instant.
    """
    drive, instants = _simulated(seed, duration_s, None, _NARRATED_S)
    first = round(LEAD_IN_S / _NARRATED_S) + seed % _CLIP_EVERY
    newest = [
        place
        for place in range(first, len(instants))
        if (place - first) % _CLIP_EVERY == 0
        or ((place - first) % _HAZARD_CLIP_EVERY == 0 and instants[place].hazards)
    ]
    rows = np.array(newest)[:, None] - np.arange(pictures - 1, -1, -1)  # (clips, pictures)
    learned = np.tile(np.arange(pictures) == pictures - 1, len(newest))
    return _drawn(drive, instants, rows.ravel(), learned)


def _simulated(
    seed: int, duration_s: float, network: str | None, step_s: float
) -> tuple[Drive, Sequence[Snapshot]]:
    """A drive, and its instants up to the end of what is labelled."""
    drive = simulate(seed, LEAD_IN_S + duration_s + RUN_OUT_S, network)
    end = round((LEAD_IN_S + duration_s) / SNAPSHOT_STEP_S)
    return drive, drive.snapshots[: end : round(step_s / SNAPSHOT_STEP_S)]


def _drawn(
    drive: Drive,
    shots: Sequence[Snapshot],
    rows: NDArray[np.int64],
    learned: NDArray[np.bool_],
) -> RecordedDrive:
    """Tells all shots in order and keeps those of `rows`, of which `learned` are to be learned."""
    start = drive.snapshots[0].time_s
    renderer = CameraRenderer(drive)
    narrator = Narrator(Phrases.of(drive.weather))
    wanted = set(rows.tolist())
    jpegs: dict[int, bytes] = {}
    shown: dict[int, NDArray[np.uint8]] = {}
    views: list[View] = []
    narrations: list[Narration] = []
    try:
        for place, shot in enumerate(shots):
            if place in wanted:
                picture = renderer.render(shot)
                classes = picture.classes
                bgr = cv2.cvtColor(picture.image, cv2.COLOR_RGB2BGR)
                _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
                jpegs[place], shown[place] = jpeg.tobytes(), classes
            else:
                classes = renderer.classes(shot)
            views.append(view_of(drive, shot, classes, *views[-1:]))
            narrations.append(narrator.tell(views[-1]))
    finally:
        renderer.close()
    stamps = np.array([START_NS + round((s.time_s - start) * 1e9) for s in shots], dtype=np.int64)
    novel = novel_frames(stamps, [[c.name for c in n.causes] for n in narrations])
    return RecordedDrive(
        drive,
        stamps[rows],
        tuple(jpegs[r] for r in rows),
        learned,
        np.stack([shown[r] for r in rows]),
        np.array([image_labels(views[r]) for r in rows], dtype=np.float32),
        tuple(narrations[r] for r in rows),
        tuple(views[r] for r in rows),
        novel[rows],
    )


def ego_states(drive: Drive, stamps_ns: NDArray[np.int64]) -> list[EgoState]:
    """The ego's pose and twist at the given stamps, in the drive's world frame."""
    times = (stamps_ns - START_NS).astype(np.float64) * 1e-9 + drive.snapshots[0].time_s
    track = drive.ego.at(times)
    zeros = np.zeros(len(times))
    half = track.yaw_rad / 2
    position = np.column_stack([track.position_m, zeros])
    orientation = np.stack([zeros, zeros, np.sin(half), np.cos(half)], axis=1)
    linear = np.stack([track.speed_mps, zeros, zeros], axis=1)
    angular = np.stack([zeros, zeros, track.yaw_rate_radps], axis=1)
    return [
        EgoState(int(stamps_ns[i]), position[i], orientation[i], linear[i], angular[i])
        for i in range(len(times))
    ]


def describe(recorded: RecordedDrive, rate_hz: int = 5) -> str:
    """What a drive holds, in lines for its card: counts of decisions and texts at a rate."""
    frames = len(recorded.stamps_ns) - recorded.first
    seconds = (recorded.stamps_ns[-1] - recorded.stamps_ns[recorded.first]) * 1e-9
    stride = max(1, round((frames - 1) / seconds / rate_hz))
    told = recorded.narrations[recorded.first :: stride]
    return "\n".join(
        (
            f"seed {recorded.drive.seed}, network {recorded.drive.network}, "
            f"limit {3.6 * recorded.drive.limit_mps:.0f} km/h, {frames} pictures, {seconds:.1f} s",
            f"at {rate_hz} Hz:",
            *text_statistics([told]).lines(),
        )
    )


class DriveSink(Protocol):
    """What `write_drive` needs of a bag writer."""

    def jpeg(self, log_ns: int, topic: str, stamp_ns: int, frame_id: str, data: bytes) -> None:
        """A compressed picture."""

    def camera_info(
        self, log_ns: int, topic: str, stamp_ns: int, frame_id: str, model: CameraModel
    ) -> None:
        """A camera's intrinsics."""

    def odometry(
        self, log_ns: int, topic: str, state: EgoState, frame_id: str, child_frame_id: str
    ) -> None:
        """A pose and twist."""

    def static_transform(
        self, log_ns: int, stamp_ns: int, parent: str, child: str, matrix: NDArray[np.float64]
    ) -> None:
        """A fixed mount."""


def write_drive(recorded: RecordedDrive, sink: DriveSink) -> None:
    """Writes a drive's labelled part as a car's recorder would have seen it.

    Stamps jitter by up to 2 ms, messages arrive a few (pictures: some ten) milliseconds after
    their stamps, the clock is that of a day, and odometry starts at the origin of `odom`.
    """
    rng = np.random.default_rng([recorded.drive.seed, 4])
    camera = front_wide_camera(recorded.drive.mount)
    frame_id = f"camera_{CAMERA_NAME}_optical"
    topic = f"/camera/{CAMERA_NAME}"
    frames = range(recorded.first, len(recorded.stamps_ns))
    begin, end = recorded.stamps_ns[recorded.first], recorded.stamps_ns[-1]

    def jitter(count: int) -> NDArray[np.int64]:
        return np.clip(rng.normal(0, 0.7e6, count), -2e6, 2e6).astype(np.int64)

    clock = BAG_START_NS - int(begin)
    start = BAG_START_NS - 20_000_000
    sink.static_transform(start, start, "base_link", frame_id, camera.pose_ego_from_camera)
    for i, shift in zip(frames, jitter(len(frames)), strict=True):
        stamp = int(recorded.stamps_ns[i]) + clock + int(shift)
        arrival = stamp + int(rng.uniform(22e6, 38e6))
        sink.jpeg(arrival, f"{topic}/image/compressed", stamp, frame_id, recorded.jpegs[i])
        if (i - recorded.first) % 10 == 0:
            sink.camera_info(arrival, f"{topic}/camera_info", stamp, frame_id, camera)
    stamps = np.arange(int(begin) - 40_000_000, int(end) + 40_000_000, 10**9 // EGO_RATE_HZ)
    states = ego_states(recorded.drive, stamps + jitter(len(stamps)))
    origin = states[0]
    for state in states:
        moved = _seen_from(origin, state)
        stamp = state.stamp_ns + clock
        arrival = stamp + int(rng.uniform(1e6, 4e6))
        sink.odometry(arrival, "/odometry", replace(moved, stamp_ns=stamp), "odom", "base_link")


def _seen_from(origin: EgoState, state: EgoState) -> EgoState:
    """The state with its pose relative to another pose; both only turn about z."""
    z, w = origin.orientation_xyzw[2:]
    cos, sin = w * w - z * z, 2 * w * z
    dx, dy, dz = state.position_m - origin.position_m
    position = np.array([cos * dx + sin * dy, cos * dy - sin * dx, dz])
    sz, sw = state.orientation_xyzw[2:]
    orientation = np.array([0.0, 0.0, w * sz - z * sw, w * sw + z * sz])
    return replace(state, position_m=position, orientation_xyzw=orientation)
