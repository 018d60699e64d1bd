"""Training examples from shards: pictures, histories, texts, futures, labels.

A `DriveSet` is all frames of a folder of shards in one long list. Pictures stay on the disk
and are read by index; all else is in memory. Knows nothing of the world behind the shards.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rsd_planner.errors import CommandError
from rsd_planner.types import CameraModel, EgoHistory, EgoState

__all__ = ["FRAMES", "SHARD_FORMAT", "DriveInfo", "DriveSet", "Label"]

SHARD_FORMAT = 2  # the second keeps what each pixel shows
FRAMES = 4  # pictures a tick, one frame apart
_EVEN_NS = 1_000_000
_ARRAYS = (
    "stamps_ns",
    "learned",
    "novel",
    "patch_bits",
    "labels",
    "history_xyz",
    "history_rot",
    "future_xyz",
    "future_rot",
)


@dataclass(frozen=True)
class Label:
    """One column of the picture labels."""

    name: str
    kind: str  # "binary": 0 or 1; "quantity": any number. NaN where it is not known


@dataclass(frozen=True)
class DriveInfo:
    """What is the same for all frames of a drive."""

    name: str
    seed: int
    network: str
    weather: str
    limit_mps: float
    camera: CameraModel | None = None  # as recorded, larger than the pictures; None in old shards


class DriveSet:
    """All frames of folders of shards. A frame is an index below `len`.

    Raises CommandError where the folder has no shards, or shards of different formats.
    """

    drives: tuple[DriveInfo, ...]
    drive: NDArray[np.int64]  # (frames,) index into `drives`
    row: NDArray[np.int64]  # (frames,) place within the drive
    stamps_ns: NDArray[np.int64]  # (frames,) within the drive
    learned: NDArray[np.bool_]  # (frames,) to be learned: history and future are whole
    novel: NDArray[np.bool_]  # (frames,) within a second after the true causes changed
    patch_bits: NDArray[np.uint32]  # (frames, rows, columns) bit k: class k is in the patch
    labels: NDArray[np.float32]  # (frames, len(label_table)), NaN where unknown
    history_xyz: NDArray[np.float32]  # (frames, 16, 3) in the ego frame at the frame's instant
    history_rot: NDArray[np.float32]  # (frames, 16, 3, 3)
    future_xyz: NDArray[np.float32]  # (frames, 64, 3)
    future_rot: NDArray[np.float32]  # (frames, 64, 3, 3)

    def __init__(self, folder: Path, limit: int | None = None, also: Iterable[Path] = ()) -> None:
        """Opens the first `limit` drives of a folder, or all, and all of other folders behind
        them."""
        files = sorted(folder.glob("drive_*.npz"))[:limit]
        if not files:
            raise CommandError(
                f"there are no drives in {folder}; make some with `rsd data --out {folder}`."
            )
        for other in also:
            files += sorted(other.glob("drive_*.npz"))
        arrays: dict[str, list[NDArray[Any]]] = {name: [] for name in _ARRAYS}
        metas, counts = [], []
        for file in files:
            with np.load(file, allow_pickle=False) as shard:
                metas.append(json.loads(shard["meta_json"].tobytes()))
                if metas[-1]["format"] != SHARD_FORMAT:
                    raise CommandError(
                        f"{file} was made by another version; remove it and make it anew."
                    )
                for name in _ARRAYS:
                    arrays[name].append(shard[name])
            counts.append(len(arrays["learned"][-1]))
        layouts = {json.dumps([m["labels"], m["classes"]]) for m in metas}
        if len(layouts) > 1:
            raise CommandError(
                f"the drives in {folder} were made by different versions; remove the older ones."
            )
        for name in _ARRAYS:
            setattr(self, name, np.concatenate(arrays.pop(name)))
        self.label_table = tuple(Label(k, v) for k, v in metas[0]["labels"].items())
        self.classes: tuple[str, ...] = tuple(metas[0]["classes"])
        self.drives = tuple(
            DriveInfo(f.stem, m["seed"], m["network"], m["weather"], m["limit_mps"], _camera_of(m))
            for f, m in zip(files, metas, strict=True)
        )
        self.drive = np.repeat(np.arange(len(files)), counts)
        self.row = np.concatenate([np.arange(count) for count in counts])
        self.texts: list[str] = [text for m in metas for text in m["texts"]]
        self.decisions: list[str] = [name for m in metas for name in m["decisions"]]
        # Each frame's causes as the narrator named them: a name and attributes.
        self.causes: list[list[dict[str, Any]]] = [c for m in metas for c in m["causes"]]
        self._files = [_PictureFile(f.with_name(f"{f.stem}.pictures.npy")) for f in files]
        self._class_files = [_PictureFile(_class_file(f)) for f in files]
        self._shards = files

    def __len__(self) -> int:
        return len(self.row)

    @property
    def picture_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        _, height, width, _ = self._files[0].shape
        return height, width

    def cause_names(self, frame: int) -> frozenset[str]:
        """The set of causes of a frame."""
        return frozenset(cause["name"] for cause in self.causes[frame])

    def pictures(self, frames: Iterable[int]) -> NDArray[np.uint8]:
        """(len(frames), height, width, 3) RGB."""
        return self._rows(self._files, frames)

    def pixel_classes(self, frames: Iterable[int]) -> NDArray[np.uint8]:
        """(len(frames), height, width) what each pixel shows, as an index into `classes`."""
        return self._rows(self._class_files, frames)

    def _rows(self, files: Sequence[_PictureFile], frames: Iterable[int]) -> NDArray[np.uint8]:
        return np.stack([files[self.drive[i]].read(int(self.row[i])) for i in frames])

    def ego_history(self, frame: int, step_s: float) -> EgoHistory:
        """What the car did before a frame, in steps of `step_s`.

        A shard knows no odometry frame: the car's pose at the frame stands for it.
        """
        stamp = int(self.stamps_ns[frame])
        xyz, rot = (v[frame].astype(np.float64) for v in (self.history_xyz, self.history_rot))
        velocity = (xyz[-1] - xyz[-2]) / step_s
        now = EgoState(stamp, np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), velocity, np.zeros(3))
        return EgoHistory(stamp, step_s, xyz, rot, now)

    def views(self, drive: int) -> list[dict[str, Any]]:
        """What the narrator was told at each frame of a drive."""
        with np.load(self._shards[drive], allow_pickle=False) as shard:
            views: list[dict[str, Any]] = json.loads(shard["views_json"].tobytes())
        return views

    def ticks(self) -> NDArray[np.int64]:
        """(ticks, FRAMES) frames, oldest first, of every learned frame that has its past."""
        last = np.flatnonzero(self.learned & (self.row >= FRAMES - 1))
        return last[:, None] - np.arange(FRAMES - 1, -1, -1)[None, :]

    def require_whole_drives(self) -> None:
        """Raises CommandError where pictures do not follow each other evenly: in clips."""
        steps = np.diff(self.stamps_ns)[np.diff(self.drive) == 0]
        if len(steps) and np.ptp(steps) > _EVEN_NS:
            raise CommandError(
                f"the ticks in {self._shards[0].parent} are seconds apart (`rsd data --clips`); "
                "what learns or measures from tick to tick needs whole drives."
            )


def _class_file(shard: Path) -> Path:
    return shard.with_name(f"{shard.stem}.classes.npy")


def _camera_of(meta: dict[str, Any]) -> CameraModel | None:
    values = meta.get("camera")
    if values is None:
        return None
    return CameraModel(
        **{**values, "pose_ego_from_camera": np.array(values["pose_ego_from_camera"])}
    )


class _PictureFile:
    """Rows of an `.npy` file. Thousands of mapped files would use up the open files."""

    def __init__(self, path: Path) -> None:
        mapped = np.load(path, mmap_mode="r")
        self._path, self._offset, self.shape = path, int(mapped.offset), mapped.shape

    def read(self, row: int) -> NDArray[np.uint8]:
        """One picture (height, width, 3)."""
        shape = self.shape[1:]
        size = int(np.prod(shape))
        flat = np.fromfile(self._path, np.uint8, size, offset=self._offset + row * size)
        return flat.reshape(shape)
