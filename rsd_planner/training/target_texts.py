"""What the target itself says at every tick of some drives: greedy texts, kept on the disk.

A drafter has to foresee the target, not the narrator. Texts belong to a checkpoint and a
drive; a file is named by the checkpoint's digest and has a line for each drive, so a run that
was stopped goes on at the drive where it was, and further drives are added behind.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from rsd_planner.evaluation.batched import BatchedModel
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.training.data import FRAMES, DriveSet
from rsd_planner.training.runtime import Runtime

__all__ = ["TargetTexts", "checkpoint_digest", "target_texts"]

_AT_ONCE = 32
_DIGESTED = ("config.json", "rsd_planner.json", "model.safetensors", "vlm/tokenizer.json")


@dataclass(frozen=True)
class TargetTexts:
    """The texts of a drive set, in order of its drives and their frames."""

    frames: NDArray[np.int64]  # (ticks,) the frame at t0
    texts: tuple[tuple[int, ...], ...]  # (ticks,) token ids, end tokens included

    def __len__(self) -> int:
        return len(self.frames)


def target_texts(
    checkpoint: Checkpoint,
    data: DriveSet,
    folder: Path,
    runtime: Runtime,
    max_tokens: int = 64,
    label: str = "read drives",
) -> TargetTexts:
    """The target's greedy text at every learned tick that is no still.

    A text is cut at `max_tokens`. Texts are cached in `folder`.
    """
    digest = checkpoint_digest(checkpoint.folder)
    file = folder / f"texts_{digest}_{max_tokens}.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    ticks = data.ticks()
    parts = [ticks[data.drive[ticks[:, -1]] == i] for i in range(len(data.drives))]
    keys = [_drive_key(data, part) for part in parts]
    if runtime.is_first:
        known = set(_read(file, repair=True))
        missing = [i for i, key in enumerate(keys) if key not in known]
        if missing:
            model = BatchedModel(checkpoint, data.picture_size, max_tokens=max_tokens)
            with file.open("a", encoding="utf-8") as out:
                for index in track(missing, description=label):
                    texts = list(_texts_of(model, data, parts[index]))
                    line = {"drive": keys[index], "texts": texts}
                    out.write(json.dumps(line, separators=(",", ":")) + "\n")
                    out.flush()
    runtime.wait()
    stored = _read(file)
    said = [tuple(text) for key in keys for text in stored[key]]
    return TargetTexts(ticks[:, -1], tuple(said))


def checkpoint_digest(folder: Path) -> str:
    """A name for what a checkpoint says: it changes with weights, config and tokenizer."""
    digest = hashlib.sha256()
    for name in (*_DIGESTED, *sorted(p.name for p in folder.glob("model-*.safetensors"))):
        path = folder / name
        if path.exists():
            digest.update(name.encode())
            with path.open("rb") as file:
                while block := file.read(1 << 22):
                    digest.update(block)
    return digest.hexdigest()[:12]


def _texts_of(
    model: BatchedModel, data: DriveSet, ticks: NDArray[np.int64]
) -> Iterator[tuple[int, ...]]:
    for start in range(0, len(ticks), _AT_ONCE):
        part = ticks[start : start + _AT_ONCE]  # (ticks, FRAMES)
        frames, place = np.unique(part, return_inverse=True)
        history = data.history_xyz[part[:, -1]].astype(np.float64)
        model.read(model.encode(data.pictures(frames)), place.reshape(-1, FRAMES), history)
        yield from model.write()


def _drive_key(data: DriveSet, ticks: NDArray[np.int64]) -> str:
    """What a drive's texts depend on besides the checkpoint, as far as it is in memory."""
    now = ticks[:, -1]
    digest = hashlib.sha256()
    for values in (data.stamps_ns[now], data.history_xyz[now], data.patch_bits[now]):
        digest.update(np.ascontiguousarray(values).tobytes())
    name = data.drives[data.drive[now[0]]].name if len(now) else "empty"
    return f"{name}:{digest.hexdigest()[:12]}"


def _read(file: Path, repair: bool = False) -> dict[str, Sequence[Sequence[int]]]:
    """The stored texts by drive. `repair` drops a last line that a kill left unfinished."""
    if not file.exists():
        return {}
    content = file.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if repair and len(whole) < len(content):
        file.write_bytes(whole)
    lines: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]
    return {line["drive"]: line["texts"] for line in lines}
