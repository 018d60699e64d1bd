"""Records simulated drives: pictures, ego motion, labels and texts, to files for training.

A recorded drive has a lead-in (for the history) and a run-out (for the path to be learned)
around its labelled frames. Files are plain arrays without pickles; text is JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from rsd_planner.simulation.camera import (
    CAMERA_NAME,
    ID_SIZE,
    CameraRenderer,
    front_wide_camera,
    visible_pixels,
)
from rsd_planner.simulation.classes import PixelClass
from rsd_planner.simulation.narrator import LeadView, LightView, Narration, Narrator, View
from rsd_planner.simulation.phrases import Phrases
from rsd_planner.simulation.scene import Drive, LightState, Snapshot
from rsd_planner.simulation.world import SNAPSHOT_STEP_S, simulate
from rsd_planner.types import EgoState

__all__ = [
    "LABEL_NAMES",
    "LEAD_IN_S",
    "LIGHT_STATES",
    "PATCH_PX",
    "RUN_OUT_S",
    "RecordedDrive",
    "ego_states",
    "generate",
    "record_drive",
    "save_drive",
    "view_of",
]

LEAD_IN_S = 2.0
RUN_OUT_S = 6.6
PATCH_PX = 16
JPEG_QUALITY = 80
EGO_RATE_HZ = 50
START_NS = 1_000_000_000  # stamps of a drive start here; zero is easily taken for "no stamp"
LIGHT_STATES = ("none", "red", "amber", "green")
LABEL_NAMES = (
    "lead_visible",
    "lead_distance_m",
    "lead_braking",
    "lead_speed_mps",
    "light_state",  # index into LIGHT_STATES
    "light_distance_m",
)
_MIN_PATCH_PIXELS = 3
_MIN_LEAD_PIXELS = 24
_MIN_LIGHT_PIXELS = 6
_LEAD_SIGHT_M = 70.0
_LIGHT_SIGHT_M = 70.0
_NEXT_S = 0.7
_LIT = {
    LightState.RED: PixelClass.LIGHT_RED,
    LightState.AMBER: PixelClass.LIGHT_AMBER,
    LightState.GREEN: PixelClass.LIGHT_GREEN,
}


@dataclass(frozen=True)
class RecordedDrive:
    """Everything of one drive. Only frames `first` up to `last` (not included) are to be learned:
    the ones before are their past, and the ego motion goes on for `RUN_OUT_S` after them."""

    drive: Drive
    stamps_ns: NDArray[np.int64]  # (frames,)
    jpegs: tuple[bytes, ...]
    first: int
    last: int
    patch_classes: NDArray[np.uint32]  # (frames, 8, 16) bit k: class k has ≥ 3 pixels there
    labels: NDArray[np.float32]  # (frames, len(LABEL_NAMES))
    narrations: tuple[Narration, ...]
    views: tuple[View, ...]  # what the narrator was told


def record_drive(
    seed: int, duration_s: float = 30.0, fps: int = 10, network: str | None = None
) -> RecordedDrive:
    """Simulates, draws and tells one drive of `duration_s` labelled seconds."""
    stride = round(1.0 / (SNAPSHOT_STEP_S * fps))
    drive = simulate(seed, LEAD_IN_S + duration_s + RUN_OUT_S, network)
    start = drive.snapshots[0].time_s
    shots = [s for s in drive.snapshots if s.time_s - start < LEAD_IN_S + duration_s][::stride]
    renderer = CameraRenderer(drive)
    narrator = Narrator(Phrases.OVERCAST if drive.overcast else Phrases.CLEAR)
    jpegs, patches, labels, narrations, views = [], [], [], [], []
    try:
        for shot in shots:
            picture = renderer.render(shot)
            bgr = cv2.cvtColor(picture.image, cv2.COLOR_RGB2BGR)
            _, jpeg = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            jpegs.append(jpeg.tobytes())
            patches.append(patch_bits(picture.classes))
            view = view_of(drive, shot, picture.classes)
            labels.append(_labels(view))
            views.append(view)
            narrations.append(narrator.tell(view))
    finally:
        renderer.close()
    stamps = [START_NS + round((s.time_s - start) * 1e9) for s in shots]
    first = round(LEAD_IN_S * fps)
    return RecordedDrive(
        drive,
        np.array(stamps, dtype=np.int64),
        tuple(jpegs),
        first,
        len(shots),
        np.stack(patches),
        np.array(labels, dtype=np.float32),
        tuple(narrations),
        tuple(views),
    )


def view_of(drive: Drive, shot: Snapshot, classes: NDArray[np.uint8]) -> View:
    """What can be seen in the picture of a snapshot, and what the expert does next."""
    lead = None
    if shot.lead is not None and shot.lead.gap_m < _LEAD_SIGHT_M:
        kinds = [PixelClass.LEAD_VEHICLE, PixelClass.LEAD_BRAKE_LAMP_ON]
        if visible_pixels(classes, kinds) >= _MIN_LEAD_PIXELS:
            lamp = visible_pixels(classes, [PixelClass.LEAD_BRAKE_LAMP_ON]) > 0
            kind = next(
                v.kind for v in shot.vehicles if v.vehicle_id == shot.lead.vehicle_id
            )
            lead = LeadView(kind, shot.lead.gap_m, shot.lead.speed_mps, lamp)
    light = None
    ahead = shot.light_ahead
    if ahead is not None and ahead.distance_m < _LIGHT_SIGHT_M:
        if visible_pixels(classes, [_LIT[ahead.state]]) >= _MIN_LIGHT_PIXELS:
            light = LightView(ahead.state, ahead.distance_m)
    soon = drive.ego.at(np.array([shot.time_s, shot.time_s + _NEXT_S])).speed_mps
    return View(
        speed_mps=max(0.0, float(soon[0])),
        next_acceleration_mps2=float(soon[1] - soon[0]) / _NEXT_S,
        lead=lead,
        light=light,
        bend=_bend(drive, shot.time_s),
    )


def _bend(drive: Drive, time_s: float, ahead_m: float = 30.0) -> str:
    """Whether the lane turns by more than 4 degrees within the next metres."""
    track = drive.ego
    now = int(np.searchsorted(track.time_s, time_s))
    rest = track.position_m[now:]
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(rest, axis=0), axis=1))])
    there = now + int(np.searchsorted(travelled, ahead_m))
    if there >= len(track.yaw_rad):
        return ""
    turn = float(track.yaw_rad[there] - track.yaw_rad[now])
    return "left" if turn > 0.07 else "right" if turn < -0.07 else ""


def patch_bits(classes: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Which classes have at least three pixels under each patch, as bits.

    `classes` is (height, width); the result is (height / 16, width / 16).
    """
    height, width = classes.shape
    blocks = classes.reshape(height // PATCH_PX, PATCH_PX, width // PATCH_PX, PATCH_PX)
    bits = np.zeros((height // PATCH_PX, width // PATCH_PX), dtype=np.uint32)
    for kind in np.unique(classes):
        enough = (blocks == kind).sum(axis=(1, 3)) >= _MIN_PATCH_PIXELS
        bits |= enough.astype(np.uint32) << np.uint32(kind)
    return bits


def _labels(view: View) -> list[float]:
    lead, light = view.lead, view.light
    return [
        float(lead is not None),
        lead.gap_m if lead else 0.0,
        float(lead.braking) if lead else 0.0,
        lead.speed_mps if lead else 0.0,
        float(LIGHT_STATES.index(light.state.value)) if light else 0.0,
        light.distance_m if light else 0.0,
    ]


def ego_states(drive: Drive, stamps_ns: NDArray[np.int64]) -> list[EgoState]:
    """The ego's pose and twist at the given stamps, in the drive's world frame."""
    times = (stamps_ns - START_NS) * 1e-9 + drive.snapshots[0].time_s
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


def save_drive(recorded: RecordedDrive, path: Path) -> None:
    """Writes one `.npz`; a file that exists under its final name is whole."""
    drive = recorded.drive
    seconds = drive.ego.time_s[-1] - drive.snapshots[0].time_s
    stamps = START_NS + np.arange(int(seconds * EGO_RATE_HZ) + 1, dtype=np.int64) * (
        10**9 // EGO_RATE_HZ
    )
    states = ego_states(drive, stamps)
    camera = front_wide_camera()
    meta = {
        "seed": drive.seed,
        "network": drive.network,
        "limit_mps": drive.limit_mps,
        "overcast": drive.overcast,
        "camera": CAMERA_NAME,
        "first": recorded.first,
        "last": recorded.last,
        "id_size": list(ID_SIZE),
        "class_names": [kind.name.lower() for kind in PixelClass],
        "label_names": list(LABEL_NAMES),
        "light_states": list(LIGHT_STATES),
        "camera_model": {
            "width": camera.width,
            "height": camera.height,
            "focal_x_px": camera.focal_x_px,
            "focal_y_px": camera.focal_y_px,
            "center_x_px": camera.center_x_px,
            "center_y_px": camera.center_y_px,
            "pose_ego_from_camera": camera.pose_ego_from_camera.tolist(),
        },
        "texts": [n.text for n in recorded.narrations],
        "decisions": [n.decision for n in recorded.narrations],
        "views": [asdict(v) for v in recorded.views],
        "causes": [[asdict(c) for c in n.causes] for n in recorded.narrations],
    }
    sizes = np.array([0, *(len(j) for j in recorded.jpegs)], dtype=np.int64)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(temporary, "wb") as file:
        np.savez(
            file,
            stamps_ns=recorded.stamps_ns,
            jpeg=np.frombuffer(b"".join(recorded.jpegs), dtype=np.uint8),
            jpeg_offsets=np.cumsum(sizes),
            ego_stamp_ns=stamps,
            ego_position=np.stack([s.position_m for s in states]),
            ego_orientation=np.stack([s.orientation_xyzw for s in states]),
            ego_linear=np.stack([s.linear_mps for s in states]),
            ego_angular=np.stack([s.angular_radps for s in states]),
            patch_classes=recorded.patch_classes,
            labels=recorded.labels,
            meta_json=np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8),
        )
    os.replace(temporary, path)


def _record_to_file(task: tuple[int, float, str]) -> int:
    seed, duration_s, path = task
    save_drive(record_drive(seed, duration_s), Path(path))
    return seed


def generate(
    out_dir: Path, seeds: Sequence[int], processes: int = 2, duration_s: float = 30.0
) -> list[Path]:
    """Makes `drive_<seed>.npz` for every seed that has none yet, several processes at once."""
    out_dir.mkdir(parents=True, exist_ok=True)
    paths = [out_dir / f"drive_{seed:06d}.npz" for seed in seeds]
    todo = [
        (seed, duration_s, str(path))
        for seed, path in zip(seeds, paths, strict=True)
        if not path.exists()
    ]
    columns = ("drives", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("drives", total=len(seeds), completed=len(seeds) - len(todo))
        for _ in _run(todo, processes):
            progress.advance(bar)
    return paths


def _run(todo: list[tuple[int, float, str]], processes: int) -> Iterable[int]:
    if processes <= 1:
        yield from map(_record_to_file, todo)
        return
    # Spawned, not forked: libsumo and the renderer keep state in the process.
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=20) as pool:
        yield from pool.imap_unordered(_record_to_file, todo)
