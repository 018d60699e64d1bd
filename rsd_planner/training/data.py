"""Training examples from recorded drives: pictures, histories, texts, futures, labels.

`prepare` resizes each drive's pictures as the image processor does and resamples its
odometry once; a `DriveSet` then serves ticks from memory-mapped files. Assumes the drives
that `simulation.record` writes; knows nothing of the world behind them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from rsd_planner.planning.ego_history import OdometryTrack, rotation_matrix
from rsd_planner.types import NANOSECONDS, EgoState

__all__ = ["DriveSet", "ImageLabels", "prepare"]

HISTORY_STEPS, FUTURE_STEPS, STEP_S = 16, 64, 0.1
FRAMES = 4
MAX_GAP_S = 0.25
POSES = ("history_xyz", "history_rot", "future_xyz", "future_rot")


@dataclass(frozen=True)
class ImageLabels:
    """Names of the labels of a picture and of the classes under its patches."""

    image: tuple[str, ...]
    classes: tuple[str, ...]


def prepare(
    source: Path, target: Path, size: tuple[int, int] = (128, 256), processes: int = 2
) -> int:
    """Prepare every drive of a folder that is new or was recorded again; returns how many.

    `size` is (height, width) in pixels.
    """
    target.mkdir(parents=True, exist_ok=True)
    drives = sorted(source.glob("*.npz"))
    todo = [d for d in drives if _is_older(target / f"{d.stem}.npz", d)]
    with ProcessPoolExecutor(processes) as pool:
        jobs = [pool.submit(_prepare_drive, drive, target, size) for drive in todo]
        for job in track(jobs, description="prepare drives", disable=not todo):
            job.result()
    return len(drives)


def _is_older(prepared: Path, drive: Path) -> bool:
    return not prepared.exists() or prepared.stat().st_mtime < drive.stat().st_mtime


def _prepare_drive(drive: Path, target: Path, size: tuple[int, int]) -> None:
    with np.load(drive, allow_pickle=False) as data:
        pictures = _pictures(data["jpeg"], data["jpeg_offsets"], size)
        odometry = OdometryTrack(_ego_states(data))
        meta = json.loads(data["meta_json"].tobytes())
        poses = [_poses_around(odometry, int(t)) for t in data["stamps_ns"]]
        whole = next(p for p in poses if p is not None)
        blank = tuple(np.zeros_like(part) for part in whole)
        names, labels = _image_labels(data["labels"], meta["label_names"], meta["light_states"])
        keep = ("class_names", "texts", "decisions", "causes", "network")
        kept = {key: meta[key] for key in keep} | {"image_labels": names}
        np.save(target / f"{drive.stem}.pictures.npy", pictures)
        temporary = target / f"{drive.stem}.part.npz"
        learned: dict[str, Any] = {
            name: np.stack([(p or blank)[k] for p in poses]) for k, name in enumerate(POSES)
        }
        np.savez(
            temporary,
            stamps_ns=data["stamps_ns"],
            patch_labels=data["patch_classes"],
            image_labels=labels,
            meta=np.array(json.dumps(kept)),
            learned=np.array([p is not None for p in poses]),
            **learned,
        )
    temporary.rename(target / f"{drive.stem}.npz")


def _image_labels(
    labels: NDArray[np.float32], names: list[str], states: list[str]
) -> tuple[list[str], NDArray[np.float32]]:
    """Labels as 0/1 columns and quantities; a quantity of what is not seen is NaN."""
    column = {name: labels[:, i] for i, name in enumerate(names)}
    lead, light = column["lead_visible"] > 0, column["light_state"] > 0
    out = {
        "lead_visible": column["lead_visible"],
        "lead_braking": np.where(lead, column["lead_braking"], np.nan),
        # Logarithms: a metre matters near the car and not far away.
        "lead_log_distance": np.where(lead, np.log1p(column["lead_distance_m"]), np.nan),
        "lead_speed_mps": np.where(lead, column["lead_speed_mps"], np.nan),
        "light_log_distance": np.where(light, np.log1p(column["light_distance_m"]), np.nan),
    }
    for index, state in enumerate(states[1:], start=1):
        out[f"light_{state}"] = column["light_state"] == index
    return list(out), np.stack([np.asarray(v, np.float32) for v in out.values()], axis=1)


def _pictures(
    jpeg: NDArray[np.uint8], offsets: NDArray[np.int64], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """(frames, height, width, 3) RGB, resized as the image processor resizes."""
    pictures = np.empty((len(offsets) - 1, *size, 3), dtype=np.uint8)
    for index, (start, end) in enumerate(pairwise(offsets)):
        decoded = cv2.imdecode(jpeg[start:end], cv2.IMREAD_COLOR)
        assert decoded is not None, "the recorder wrote a picture that is no JPEG"
        image = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
        resized = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BICUBIC)
        pictures[index] = np.asarray(resized)
    return pictures


def _ego_states(data: np.lib.npyio.NpzFile) -> list[EgoState]:
    rows = zip(
        data["ego_stamp_ns"],
        data["ego_position"],
        data["ego_orientation"],
        data["ego_linear"],
        data["ego_angular"],
        strict=True,
    )
    return [EgoState(int(t), p, q, v, w) for t, p, q, v, w in rows]


def _poses_around(track: OdometryTrack, t0_ns: int) -> tuple[NDArray[np.float32], ...] | None:
    """History and future at t0 in the ego frame: positions and rotations of each.

    None at the ends of a drive, where one of them is not whole.
    """
    history = track.history(t0_ns, HISTORY_STEPS, STEP_S, MAX_GAP_S)
    step = round(STEP_S * NANOSECONDS)
    ahead = track.at(t0_ns + step * np.arange(1, FUTURE_STEPS + 1), MAX_GAP_S)
    if history is None or ahead is None:
        return None
    to_ego = rotation_matrix(history.now.orientation_xyzw).T
    xyz = (np.stack([s.position_m for s in ahead]) - history.now.position_m) @ to_ego.T
    rot = to_ego @ rotation_matrix(np.stack([s.orientation_xyzw for s in ahead]))
    parts = (history.position_m, history.rotation, xyz, rot)
    return tuple(np.asarray(part, dtype=np.float32) for part in parts)


class DriveSet:
    """Prepared drives as one long list of frames."""

    def __init__(self, folder: Path, limit: int | None = None) -> None:
        files = sorted(p for p in folder.glob("*.npz") if not p.stem.endswith(".part"))[:limit]
        if not files:
            raise FileNotFoundError(f"no prepared drives in {folder}: run `rsd data` first")
        self._pictures = [
            np.load(f.with_name(f"{f.stem}.pictures.npy"), mmap_mode="r") for f in files
        ]
        parts = [dict(np.load(f)) for f in files]
        metas = [json.loads(str(p["meta"])) for p in parts]
        self.labels = ImageLabels(tuple(metas[0]["image_labels"]), tuple(metas[0]["class_names"]))
        self.drive = np.concatenate([np.full(len(p["stamps_ns"]), i) for i, p in enumerate(parts)])
        self.row = np.concatenate([np.arange(len(p["stamps_ns"])) for p in parts])
        self.names = tuple(f.stem for f in files)
        self.texts = [text for meta in metas for text in meta["texts"]]
        self.decisions = [name for meta in metas for name in meta["decisions"]]

        def joined(name: str) -> NDArray[Any]:
            return np.concatenate([p[name] for p in parts])

        self.learned = joined("learned")  # (frames,) bool: history and future are whole
        self.patch_labels = joined("patch_labels")  # (frames, rows, columns) masks of classes
        self.image_labels = joined("image_labels")  # (frames, labels)
        self.history_xyz = joined("history_xyz")  # (frames, 16, 3)
        self.history_rot = joined("history_rot")  # (frames, 16, 3, 3)
        self.future_xyz = joined("future_xyz")  # (frames, 64, 3)
        self.future_rot = joined("future_rot")  # (frames, 64, 3, 3)

    def __len__(self) -> int:
        return len(self.row)

    def pictures(self, indices: Iterable[int]) -> NDArray[np.uint8]:
        """(len(indices), height, width, 3)."""
        return np.stack([self._pictures[self.drive[i]][self.row[i]] for i in indices])

    def ticks(self, frame_interval_s: float, frame_period_s: float = 0.1) -> NDArray[np.int64]:
        """(ticks, FRAMES) frame indices, oldest first, for every learned frame."""
        stride = round(frame_interval_s / frame_period_s)
        last = np.flatnonzero(self.learned & (self.row >= stride * (FRAMES - 1)))
        offsets = stride * np.arange(FRAMES - 1, -1, -1)
        return last[:, None] - offsets[None, :]
