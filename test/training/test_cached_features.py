"""Features of pictures are kept as long as they belong to the pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from made_drives import write_drive

from rsd_planner.models.checkpoint import load_checkpoint
from rsd_planner.models.presets import write_random_checkpoint
from rsd_planner.training.data import DriveSet
from rsd_planner.training.features import cached_features
from rsd_planner.training.runtime import Runtime


def test_drives_made_anew_under_the_same_seed_are_looked_at_anew(
    tmp_path: Path,
) -> None:
    vla = load_checkpoint(write_random_checkpoint(tmp_path / "target", seed=3)).vla
    drives, kept = tmp_path / "drives", tmp_path / "kept"
    write_drive(drives, 1)
    shard = drives / "drive_000001.npz"

    def features(folder: Path) -> list[str]:
        cached_features(vla, DriveSet(drives), folder, "train", Runtime())
        return [file.name for file in folder.glob("*.npy")]

    (before,) = features(kept)
    assert features(kept) == [before]
    with np.load(shard) as stored:
        arrays = {**stored}
    for changed in (
        {"stamps_ns": arrays["stamps_ns"] + 1},
        {"history_xyz": arrays["history_xyz"] + 0.5},
        {"patch_bits": arrays["patch_bits"] + np.uint32(1)},
    ):
        np.savez(shard, **{**arrays, **changed})
        folder = tmp_path / next(iter(changed))
        shutil.copytree(kept, folder)
        (after,) = features(folder)
        assert after != before, f"other {next(iter(changed))}"
