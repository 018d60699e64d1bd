"""Makes training shards: one simulated drive each, recorded at the model's own tick rate.

A shard is three files. `drive_SEED.pictures.npy` holds the pictures as the image processor
resizes them at run time, from the same JPEG bytes that a camera would send;
`drive_SEED.classes.npy` what each pixel of them shows; `drive_SEED.npz` all else as plain
arrays and JSON. The last is written last, so a shard that has it is whole. `data.DriveSet`
reads them.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from rsd_planner.planning.pictures import compressed_to_rgb
from rsd_planner.simulation.camera import front_wide_camera
from rsd_planner.simulation.classes import PixelClass, patch_bits
from rsd_planner.simulation.labels import LABELS
from rsd_planner.simulation.record import (
    START_NS,
    RecordedDrive,
    record_clips,
    record_drive,
)
from rsd_planner.simulation.scene import EgoTrack
from rsd_planner.training.card import write_card
from rsd_planner.training.data import FRAMES, SHARD_FORMAT
from rsd_planner.training.drive_pool import run_seeds
from rsd_planner.types import CameraModel

__all__ = [
    "FUTURE_STEPS",
    "HISTORY_STEPS",
    "PICTURE_SIZE",
    "STEP_S",
    "TICK_HZ",
    "make_shards",
    "resized",
    "write_shard",
]

PATIENCE_S = 180.0  # a drive takes a few seconds
TICK_HZ = 5
PICTURE_SIZE = (128, 256)  # height, width
HISTORY_STEPS, FUTURE_STEPS, STEP_S = 16, 64, 0.1


def make_shards(
    folder: Path,
    seeds: Sequence[int],
    processes: int = 2,
    duration_s: float = 30.0,
    clips: bool = False,
) -> dict[int, str]:
    """Makes the shard of every seed that has none yet, several at once, and the data card.

    `clips` are drives of which only ticks seconds apart are kept.

    Returns what went wrong with a seed, by seed; such a drive is left out.
    """
    folder.mkdir(parents=True, exist_ok=True)
    todo = [seed for seed in seeds if not _shard_path(folder, seed).exists()]
    task = functools.partial(_make_one, duration_s=duration_s, folder=folder, clips=clips)
    failed: dict[int, str] = {}
    columns = ("drives", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("drives", total=len(seeds), completed=len(seeds) - len(todo))
        for seed, what in run_seeds(task, todo, processes, PATIENCE_S):
            if what:
                failed[seed] = what
            progress.advance(bar)
    write_card(folder)
    return failed


def _make_one(seed: int, duration_s: float, folder: Path, clips: bool) -> None:
    if clips:
        write_shard(record_clips(seed, duration_s, FRAMES), folder)
    else:
        write_shard(record_drive(seed, duration_s, fps=TICK_HZ), folder)


def _shard_path(folder: Path, seed: int) -> Path:
    return folder / f"drive_{seed:06d}.npz"


def write_shard(recorded: RecordedDrive, folder: Path) -> Path:
    """Writes one drive; returns the path of its `.npz`."""
    drive = recorded.drive
    path = _shard_path(folder, drive.seed)
    since_start = (recorded.stamps_ns - START_NS).astype(np.float64) * 1e-9
    times = since_start + drive.snapshots[0].time_s
    poses, whole = _poses_around(drive.ego, times)
    label_kinds, labels = _label_columns(recorded)
    meta = {
        "format": SHARD_FORMAT,
        "seed": drive.seed,
        "network": drive.network,
        "weather": drive.weather.value,
        "limit_mps": drive.limit_mps,
        "camera": _camera_values(front_wide_camera(drive.mount)),
        "labels": label_kinds,
        "classes": [kind.name.lower() for kind in PixelClass],
        "texts": [n.text for n in recorded.narrations],
        "decisions": [n.decision for n in recorded.narrations],
        "causes": [[asdict(c) for c in n.causes] for n in recorded.narrations],
    }
    pictures = np.stack([resized(compressed_to_rgb(j, "jpeg")) for j in recorded.jpegs])
    for name, array in (("pictures", pictures), ("classes", recorded.classes)):
        with _Whole(path.with_name(f"{path.stem}.{name}.npy")) as temporary:
            np.save(temporary, array)
    with _Whole(path) as temporary:
        np.savez(
            temporary,
            stamps_ns=recorded.stamps_ns,
            learned=whole & recorded.learned,
            novel=recorded.novel,
            patch_bits=patch_bits(recorded.classes),
            labels=labels,
            meta_json=_json_bytes(meta),
            views_json=_json_bytes([asdict(v) for v in recorded.views]),
            **poses,
        )
    return path


def _camera_values(camera: CameraModel) -> dict[str, Any]:
    return asdict(camera) | {"pose_ego_from_camera": camera.pose_ego_from_camera.tolist()}


def _label_columns(recorded: RecordedDrive) -> tuple[dict[str, str], NDArray[np.float32]]:
    """Kinds of the labels by name, and the labels (frames, labels); what is unknown is NaN."""
    kinds = {label.name: "binary" if label.kind == "binary" else "quantity" for label in LABELS}
    # Logarithms: a metre matters near the car and not far away.
    far = [label.kind == "distance" for label in LABELS]
    labels = recorded.labels.copy()
    labels[:, far] = np.log1p(labels[:, far])
    return kinds, labels


class _Whole:
    """A file that gets its name only when it is whole."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{os.getpid()}.{path.name}")

    def __enter__(self) -> Path:
        return self._temporary

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            os.replace(self._temporary, self._path)
        else:
            self._temporary.unlink(missing_ok=True)


def _json_bytes(value: Any) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value).encode(), dtype=np.uint8)


def resized(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An RGB picture in the size that the model sees, as the image processor resizes."""
    height, width = PICTURE_SIZE
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(small)


def _poses_around(
    track: EgoTrack, times: NDArray[np.float64]
) -> tuple[dict[str, Any], NDArray[np.bool_]]:
    """History and future at each instant in its ego frame, and where both are whole."""
    grid = STEP_S * np.arange(1 - HISTORY_STEPS, FUTURE_STEPS + 1)
    wanted = times[:, None] + grid  # (frames, 80)
    around = track.at(wanted.ravel())
    position = around.position_m.reshape(*wanted.shape, 2)
    yaw = around.yaw_rad.reshape(wanted.shape)
    now = HISTORY_STEPS - 1
    cos, sin = np.cos(yaw[:, now, None]), np.sin(yaw[:, now, None])
    x, y = np.moveaxis(position - position[:, now, None], -1, 0)
    xyz = np.stack([cos * x + sin * y, cos * y - sin * x, np.zeros_like(x)], axis=-1)
    turn = yaw - yaw[:, now, None]
    rot = np.zeros((*wanted.shape, 3, 3))
    rot[..., 0, 0] = rot[..., 1, 1] = np.cos(turn)
    rot[..., 1, 0] = np.sin(turn)
    rot[..., 0, 1] = -rot[..., 1, 0]
    rot[..., 2, 2] = 1.0
    slack = 1e-6
    whole = (wanted[:, 0] >= track.time_s[0] - slack) & (wanted[:, -1] <= track.time_s[-1] + slack)
    past, ahead = slice(None, now + 1), slice(now + 1, None)
    poses = {
        "history_xyz": xyz[:, past],  # (frames, 16, 3)
        "history_rot": rot[:, past],  # (frames, 16, 3, 3)
        "future_xyz": xyz[:, ahead],  # (frames, 64, 3)
        "future_rot": rot[:, ahead],  # (frames, 64, 3, 3)
    }
    return {name: value.astype(np.float32) for name, value in poses.items()}, whole
