"""What the target makes of its own texts: its states, and how likely it holds each token.

One forward over prompt and text of every tick. States are not kept; the likeliest few tokens are,
on the disk: a file belongs to a drive, its texts and the checkpoint, so a run that was stopped
goes on at the drive where it was.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from rsd_planner.evaluation.batched import BatchedModel
from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.models.vla import run_text_stack
from rsd_planner.training.runtime import Runtime
from rsd_planner.training.said_ticks import SaidBatch, SaidTicks
from rsd_planner.training.target_texts import checkpoint_digest

__all__ = ["LIKELIEST", "AskedTarget", "TargetLabels", "target_labels"]

LIKELIEST = 8
_AT_ONCE = 32


@dataclass(frozen=True)
class TargetLabels:
    """The target's likeliest tokens at each place of each text."""

    start: NDArray[np.int64]  # (ticks + 1,) where a tick's rows begin
    tokens: NDArray[np.int32]  # (rows, LIKELIEST) the likeliest first
    log_chances: NDArray[np.float16]  # (rows, LIKELIEST)

    def batch(self, ticks: NDArray[np.int64], longest: int) -> tuple[Tensor, Tensor]:
        """Tokens and probabilities (batch, longest, LIKELIEST) of some ticks; 0 in the padding."""
        tokens = np.zeros((len(ticks), longest, LIKELIEST), np.int64)
        chances = np.zeros((len(ticks), longest, LIKELIEST), np.float32)
        for row, tick in enumerate(ticks):
            rows = slice(self.start[tick], self.start[tick + 1])
            length = rows.stop - rows.start
            tokens[row, :length] = self.tokens[rows]
            chances[row, :length] = np.exp(self.log_chances[rows].astype(np.float32))
        return torch.from_numpy(tokens), torch.from_numpy(chances)


def target_labels(
    checkpoint: Checkpoint,
    ticks: SaidTicks,
    folder: Path,
    runtime: Runtime,
    unwritable: tuple[tuple[int, int], ...],
    label: str = "ask the target",
) -> TargetLabels:
    """The labels of every tick; ids in the ranges `unwritable` are never among them."""
    here = folder / f"logits_{checkpoint_digest(checkpoint.folder)}"
    drive = ticks.data.drive[ticks.said.frames]
    parts = [np.flatnonzero(drive == i) for i in range(len(ticks.data.drives))]
    files = [here / f"{_key(ticks, part, i, unwritable)}.npz" for i, part in enumerate(parts)]
    if runtime.is_first:
        here.mkdir(parents=True, exist_ok=True)
        missing = [i for i, file in enumerate(files) if not file.exists()]
        asked = _Chances(checkpoint, ticks, unwritable) if missing else None
        for index in track(missing, description=label, disable=not missing):
            assert asked is not None
            tokens, log_chances = asked.drive(parts[index])
            # A kill while writing must not leave half a file under the name.
            part_file = files[index].with_suffix(".part")
            with part_file.open("wb") as out:
                np.savez(out, tokens=tokens, log_chances=log_chances)
            os.replace(part_file, files[index])
    runtime.wait()
    tokens_of, log_chances_of = zip(*map(_stored, files), strict=True)
    lengths = [len(text) for text in ticks.said.texts]
    return TargetLabels(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate(tokens_of),
        np.concatenate(log_chances_of),
    )


class AskedTarget:
    """The target over its own texts."""

    def __init__(self, checkpoint: Checkpoint, ticks: SaidTicks) -> None:
        self._vla, self._ticks = checkpoint.vla, ticks
        self.places = ticks.prompt.positions  # (3, prompt)
        deepstack = self._vla.vlm.config.vision_config.deepstack_visual_indexes
        # What is on the disk holds no deepstack features: these are encoded anew.
        self._tower = BatchedModel(checkpoint, ticks.data.picture_size) if deepstack else None

    def states(
        self, part: NDArray[np.int64], note: Callable[[int, Tensor], None] | None = None
    ) -> tuple[SaidBatch, Tensor]:
        """Some ticks' sequences and the normed last states (batch, prompt + text, hidden).

        `note` is told each layer and the states behind it.
        """
        vla, ticks = self._vla, self._ticks
        device = vla.device
        batch = ticks.batch(part).to(device)
        length = batch.tokens.shape[1]
        embeds = vla.text.embed_tokens(batch.ids)
        where = torch.from_numpy(np.flatnonzero(ticks.prompt.is_image)).to(device)
        pictures, visual = batch.pictures, None
        if self._tower is not None:
            frames, place = np.unique(ticks.shown[part], return_inverse=True)
            seen = self._tower.encode(ticks.data.pictures(frames))
            chosen = torch.from_numpy(place.ravel()).to(device)
            pictures = seen.merged[chosen].view_as(pictures)
            is_image = torch.zeros(batch.ids.shape, dtype=torch.bool, device=device)
            is_image[:, where] = True
            deep = [layer[chosen].flatten(0, 1).to(embeds.dtype) for layer in seen.deepstack]
            visual = is_image, deep
        embeds = embeds.index_copy(1, where, pictures.to(embeds.dtype))
        places = ticks.places(self.places, length).to(device)
        places = places[:, None].expand(3, len(part), -1)
        return batch, run_text_stack(vla.text, embeds, places, visual=visual, note=note)


class _Chances:
    """What the target gives the tokens of its texts."""

    def __init__(
        self, checkpoint: Checkpoint, ticks: SaidTicks, unwritable: tuple[tuple[int, int], ...]
    ) -> None:
        self._target, self._unwritable = AskedTarget(checkpoint, ticks), unwritable
        self._head = checkpoint.vla.vlm.lm_head

    @torch.inference_mode()
    def drive(self, ticks: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.float16]]:
        """Rows of all texts of a drive's ticks, one behind the other."""
        tokens = [np.zeros((0, LIKELIEST), np.int32)]
        log_chances = [np.zeros((0, LIKELIEST), np.float16)]
        for start in range(0, len(ticks), _AT_ONCE):
            part = ticks[start : start + _AT_ONCE]
            found = self._log_chances(part)
            best, which = found.topk(LIKELIEST, dim=-1)
            tokens.append(which.cpu().numpy().astype(np.int32))
            # −inf stays: a chance of nothing
            log_chances.append(best.cpu().numpy().astype(np.float16))
        return np.concatenate(tokens), np.concatenate(log_chances)

    def _log_chances(self, part: NDArray[np.int64]) -> Tensor:
        """(rows, vocab) of the tokens of some ticks' texts, the padding left out."""
        batch, states = self._target.states(part)
        length = batch.tokens.shape[1]
        logits = self._head(states[:, -length - 1 : -1][batch.tokens >= 0]).float()
        for start, stop in self._unwritable:
            logits[:, start:stop] = -torch.inf
        return torch.log_softmax(logits, dim=-1)


def _stored(file: Path) -> tuple[NDArray[np.int32], NDArray[np.float16]]:
    """Tokens and log-chances of a drive."""
    with np.load(file, allow_pickle=False) as stored:
        return stored["tokens"], stored["log_chances"]


def _key(
    ticks: SaidTicks,
    part: NDArray[np.int64],
    drive: int,
    unwritable: tuple[tuple[int, int], ...],
) -> str:
    """What a drive's labels depend on besides the checkpoint."""
    frames = ticks.said.frames[part]
    said = [ticks.said.texts[i] for i in part]
    digest = hashlib.sha256(repr((said, unwritable, LIKELIEST)).encode())
    for values in (ticks.data.stamps_ns[frames], ticks.data.history_xyz[frames]):
        digest.update(np.ascontiguousarray(values).tobytes())
    return f"{ticks.data.drives[drive].name}_{digest.hexdigest()[:12]}"
