"""Shards that cost nothing to make: noise that brightens half-way, before a car that speeds up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

FRAMES = 12
SIZE = (32, 64)


class KilledError(Exception):
    """Ends a run in the middle, as a kill would."""


def write_drive(folder: Path, seed: int) -> None:
    """A drive's two files; of its frames the first three are no ticks."""
    rng = np.random.default_rng(seed)
    speed = 5.0 + seed + 0.5 * np.arange(FRAMES)
    poses = np.zeros((FRAMES, 80, 3), np.float32)
    poses[:, :, 0] = speed[:, None] * 0.1 * np.arange(-15, 65)
    turn = np.broadcast_to(np.eye(3, dtype=np.float32), (FRAMES, 80, 3, 3))
    late = np.arange(FRAMES) > FRAMES // 2
    light = np.where(late, 200, 60)[:, None, None, None]
    pictures = light + rng.integers(0, 50, (FRAMES, *SIZE, 3))
    meta = {
        "format": 2, "seed": seed, "network": "made", "weather": "CLEAR", "limit_mps": 14.0,
        "labels": {}, "classes": [], "camera": None, "texts": ["x"] * FRAMES,
        "decisions": ["keep"] * FRAMES, "causes": [[]] * FRAMES,
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / f"drive_{seed:06d}.pictures.npy", pictures.astype(np.uint8))
    classes = np.zeros((FRAMES, *SIZE), np.uint8)
    np.save(folder / f"drive_{seed:06d}.classes.npy", classes)
    np.savez(
        folder / f"drive_{seed:06d}.npz",
        stamps_ns=1_000_000_000 + 200_000_000 * np.arange(FRAMES, dtype=np.int64),
        learned=np.ones(FRAMES, np.bool_),
        novel=late,
        patch_bits=np.zeros((FRAMES, 1, 1), np.uint32),
        labels=np.zeros((FRAMES, 0), np.float32),
        history_xyz=poses[:, :16],
        history_rot=turn[:, :16],
        future_xyz=poses[:, 16:],
        future_rot=turn[:, 16:],
        meta_json=np.frombuffer(json.dumps(meta).encode(), np.uint8),
    )
