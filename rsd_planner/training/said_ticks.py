"""Ticks of a drive set with what the target says there, as a model's inputs.

Prompts are the planner's, token for token. For all drafters that learn from the target's features:
the target reads these sequences and is asked what it makes of them, a replica reads them itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rsd_planner.models.checkpoint import Checkpoint
from rsd_planner.models.vision_batch import BatchedTower
from rsd_planner.planning.batch_prompt import BatchPrompt
from rsd_planner.training.data import FRAMES, DriveSet
from rsd_planner.training.target_texts import TargetTexts

__all__ = ["PADDING", "SaidBatch", "SaidTicks"]

PADDING = -100
_ROUND = 8  # texts are padded to multiples of it, so that few shapes occur


@dataclass(frozen=True)
class SaidBatch:
    """Sequences of prompt and text, all prompts alike but for history and pictures."""

    ids: Tensor  # (batch, prompt + text); behind a text any id
    pictures: Tensor  # (batch, image tokens, visual width) of the target's tower
    tokens: Tensor  # (batch, text) the text, padded with PADDING

    def to(self, device: torch.device) -> SaidBatch:
        """The same on a device."""
        return SaidBatch(self.ids.to(device), self.pictures.to(device), self.tokens.to(device))


class SaidTicks:
    """Every tick of a drive set with the target's text."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        data: DriveSet,
        said: TargetTexts,
        features: NDArray[np.float16],
    ) -> None:
        """`features` (frames, tokens, visual width) are what the target's tower says."""
        self.data, self.said, self.features = data, said, features
        shown = said.frames[:, None] - np.arange(FRAMES - 1, -1, -1)
        self.shown = shown  # (ticks, FRAMES) frames, oldest first
        grid = BatchedTower(checkpoint.vla.vlm.model.visual, *data.picture_size).grid_thw
        self.prompt = BatchPrompt(checkpoint, grid, FRAMES)
        self._history = self.prompt.history(data.history_xyz[said.frames])  # (ticks, tokens)

    def __len__(self) -> int:
        return len(self.said)

    def places(self, prompt: NDArray[np.int64], text: int) -> Tensor:
        """(3, prompt + text) positions, from those of the prompt."""
        behind = prompt.max() + 1 + np.tile(np.arange(text), (3, 1))
        return torch.from_numpy(np.concatenate([prompt, behind], axis=1))

    def batch(self, ticks: NDArray[np.int64]) -> SaidBatch:
        """Sequences of some ticks."""
        texts = [self.said.texts[tick] for tick in ticks]
        longest = _ROUND * math.ceil(max(map(len, texts)) / _ROUND)
        tokens = torch.full((len(ticks), longest), PADDING)
        for row, text in enumerate(texts):
            tokens[row, : len(text)] = torch.tensor(text)
        prompts = self.prompt.ids(self._history[ticks])
        cached = self.features[self.shown[ticks].ravel()]
        pictures = torch.from_numpy(np.asarray(cached)).float()
        return SaidBatch(
            torch.cat([torch.from_numpy(prompts), tokens.clamp(min=0)], dim=1),
            pictures.view(len(ticks), -1, pictures.shape[-1]),
            tokens,
        )
