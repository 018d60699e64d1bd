"""Features of all pictures of a drive set, computed once and kept on the disk.

A file belongs to the weights and the drives that it was made of: its name says which. An
interrupted run goes on where it was.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import nn

from rsd_planner.models.vla import Vla
from rsd_planner.training.data import DriveSet
from rsd_planner.training.runtime import Runtime
from rsd_planner.training.vision_tower import TrainingTower

__all__ = ["cached_features"]

_AT_ONCE = 64
_NOTE_EVERY_S = 30.0


def cached_features(
    vla: Vla, data: DriveSet, folder: Path, name: str, runtime: Runtime
) -> NDArray[np.float16]:
    """Merged tokens (frames, tokens, hidden) of all frames, as a memory map.

    Older features of the same name are removed.
    """
    file = folder / f"features_{name}_{_digest(vla.vlm.model.visual, data)}.npy"
    if runtime.is_first and not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob(f"features_{name}_*"):
            if not old.name.startswith(file.stem):
                old.unlink()
        _compute(vla, data, file, runtime)
    runtime.wait()
    features: NDArray[np.float16] = np.load(file, mmap_mode="r")
    return features


@torch.inference_mode()
def _compute(vla: Vla, data: DriveSet, file: Path, runtime: Runtime) -> None:
    tower = TrainingTower(vla.vlm.model.visual, *data.picture_size)
    merge = vla.vlm.config.vision_config.spatial_merge_size
    tokens = tower.grid_thw[1] * tower.grid_thw[2] // merge**2
    shape = (len(data), tokens, vla.text.config.hidden_size)
    part, note = file.with_suffix(".part.npy"), file.with_suffix(".done")
    resumed = part.exists() and note.exists()
    done = int(note.read_text()) if resumed else 0
    out = np.lib.format.open_memmap(part, "r+" if resumed else "w+", np.float16, shape)
    noted = time.monotonic()
    for start in track(range(done, len(data), _AT_ONCE), description="encode pictures"):
        rows = np.arange(start, min(start + _AT_ONCE, len(data)))
        images = torch.from_numpy(data.pictures(rows))
        with runtime.autocast():
            merged = tower(images)[1]
        out[rows[0] : rows[-1] + 1] = merged.cpu().half().numpy()
        if time.monotonic() - noted > _NOTE_EVERY_S:
            out.flush()
            note.write_text(str(int(rows[-1]) + 1))
            noted = time.monotonic()
    out.flush()
    part.rename(file)
    note.unlink(missing_ok=True)


def _digest(visual: nn.Module, data: DriveSet) -> str:
    digest = hashlib.sha1(repr([(d.name, d.seed) for d in data.drives] + [len(data)]).encode())
    # Drives that were made anew under the same seeds show other pictures.
    for values in (data.stamps_ns, data.history_xyz, data.patch_bits):
        digest.update(np.ascontiguousarray(values).tobytes())
    for value in visual.state_dict().values():
        digest.update(value.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:10]
