"""The vision tower learns what the world's truth says is in a picture.

Each merged token predicts the classes under its four patches, and attention-pooled heads
predict the labels of the whole picture. The heads are thrown away afterwards. End to end
on the text loss alone nothing is learned in reasonable time, hence this stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from rsd_planner.models.vision_batch import patchify
from rsd_planner.models.vla import Vla
from rsd_planner.training.augment import Augmenter
from rsd_planner.training.data import DriveSet
from rsd_planner.training.loop import Schedule, train
from rsd_planner.training.picture_labels import (
    LabelTargets,
    dense_weights,
    label_scores,
    loss_of_labels,
)
from rsd_planner.training.runtime import Runtime
from rsd_planner.training.sampling import MOST_WEIGHT, rarity_weights, step_batches
from rsd_planner.training.vision_tower import TrainingTower

__all__ = ["Perception", "PerceptionHeads", "frame_weights", "train_perception"]

DENSE_WEIGHT = 3.0
RARE_POWER, RARE_MOST = 0.8, 20.0
EVALUATED = 2000  # held-out pictures
VARIED_SHARE = 0.85  # of the steps; the others see pictures as they will be seen


class PerceptionHeads(nn.Module):
    """Dense classes from each merged token, and picture labels from pooled ones."""

    def __init__(self, hidden: int, classes: int, labels: int, patches: int = 4) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden, patches * classes)
        self.norm = nn.LayerNorm(hidden)
        self.query = nn.Parameter(0.02 * torch.randn(labels, hidden))
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.out = nn.Parameter(0.02 * torch.randn(labels, hidden))
        self.bias = nn.Parameter(torch.zeros(labels))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, tokens, hidden) → dense (batch, tokens, 4·classes), labels (batch, labels)."""
        x = self.norm(tokens)
        weight = torch.einsum("lh,bth->blt", self.query, self.key(x)) / x.shape[-1] ** 0.5
        pooled = torch.einsum("blt,bth->blh", weight.softmax(-1), self.value(x))
        return self.dense(x), (pooled * self.out).sum(-1) + self.bias


def frame_weights(
    data: DriveSet, frames: NDArray[np.int64], power: float = 0.5, most: float = MOST_WEIGHT
) -> NDArray[np.float64]:
    """How often frames are to be drawn: more often what is rare in them."""
    shown = [data.cause_names(f) | {data.decisions[f]} for f in frames]
    return rarity_weights(shown, power, most)


class Perception:
    """The vision tower with its heads: a loss, and scores."""

    def __init__(
        self, vla: Vla, data: DriveSet, runtime: Runtime, weights: NDArray[np.float64]
    ) -> None:
        """`weights` (frames,) say how often the loss will see each frame."""
        self._data, self._runtime = data, runtime
        visual = vla.vlm.model.visual
        self._patch = visual.config.patch_size
        self._merge = visual.config.spatial_merge_size
        torch.manual_seed(0)
        heads = PerceptionHeads(
            vla.text.config.hidden_size, len(data.classes), len(data.label_table)
        )
        self.heads = heads.to(runtime.device)
        self._tower = TrainingTower(visual, *data.picture_size)
        self._targets = LabelTargets.of(data, weights, runtime.device)
        self._dense_weight = dense_weights(data, weights, runtime.device)

    def tokens(self, images: NDArray[np.uint8], noise: torch.Generator | None = None) -> Tensor:
        """Merged tokens (batch, tokens, hidden); `noise` varies light and colours."""
        pixels = torch.from_numpy(images).to(self._runtime.device)
        patches = patchify(pixels, self._patch, self._merge)
        if noise is not None:
            patches = _relight(patches, noise)
        with self._runtime.autocast():
            _, tokens, _ = self._tower.encode(patches)
        return tokens.float()

    def loss(
        self, tokens: Tensor, patch_bits: NDArray[np.uint32], truth: NDArray[np.float32]
    ) -> tuple[Tensor, Mapping[str, float]]:
        """Loss of the heads on the tokens of some pictures, of which bits and labels are known."""
        device = self._runtime.device
        dense, labels = self.heads(tokens)
        bits = _bits(patch_bits, len(self._data.classes)).to(device)
        dense_loss = functional.binary_cross_entropy_with_logits(
            dense, bits, pos_weight=self._dense_weight.repeat(4)
        )
        label_loss = loss_of_labels(labels, torch.from_numpy(truth).to(device), self._targets)
        loss = DENSE_WEIGHT * dense_loss + label_loss
        return loss, {"dense": float(dense_loss.detach()), "labels": float(label_loss.detach())}

    @torch.inference_mode()
    def evaluate(self, data: DriveSet) -> Mapping[str, float]:
        """Balanced accuracy of binary labels, mean error of quantities, F1 of patch classes."""
        frames = np.arange(0, len(data), max(1, len(data) // EVALUATED))
        classes, predicted = len(data.classes), []
        hits, said, true = (np.zeros(classes) for _ in range(3))
        for start in range(0, len(frames), 64):
            part = frames[start : start + 64]
            dense, labels = self.heads(self.tokens(data.pictures(part)))
            predicted.append(labels.cpu())
            seen = (dense.cpu() > 0).view(-1, classes).numpy()
            there = _bits(data.patch_bits[part], classes).view(-1, classes).numpy() > 0.5
            hits, said, true = hits + (seen & there).sum(0), said + seen.sum(0), true + there.sum(0)
        scores = label_scores(
            torch.cat(predicted), torch.from_numpy(data.labels[frames]), data, self._targets
        )
        patches = {
            f"patch_{name}": 2 * hits[i] / (said[i] + true[i])
            for i, name in enumerate(data.classes)
            if true[i] > 0
        }
        binary = [
            scores[x.name] for x in data.label_table if x.kind == "binary" and x.name in scores
        ]
        summary = {
            "mean_binary": float(np.mean(binary)) if binary else 0.0,
            "mean_patch_f1": float(np.mean(list(patches.values()))) if patches else 0.0,
        }
        return summary | scores | patches


def train_perception(
    vla: Vla,
    data: DriveSet,
    held_out: DriveSet,
    folder: Path,
    schedule: Schedule,
    runtime: Runtime,
    batch: int = 64,
) -> None:
    """Train `vla`'s vision tower on a set of drives; resumable."""
    # Nearly as often as the common causes: what is seen a few times in an hour is not learned.
    weights = frame_weights(data, np.arange(len(data)), RARE_POWER, RARE_MOST)
    perception = Perception(vla, data, runtime, weights)
    step_frames = step_batches(len(data), batch, schedule.batch_seed(1), weights)

    augmenter = Augmenter(data)

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, float]]:
        frames = runtime.share(step_frames(step))
        seed = schedule.noise_seed(step, runtime.rank)
        if step < VARIED_SHARE * schedule.steps:
            scenes = augmenter.varied(frames, np.random.default_rng(seed))
        else:
            scenes = augmenter.plain(frames)
        tokens = perception.tokens(scenes.images, torch.Generator().manual_seed(seed))
        return perception.loss(tokens, scenes.bits, scenes.labels)

    def evaluate() -> Mapping[str, float]:
        return perception.evaluate(held_out)

    modules = {"visual": vla.vlm.model.visual, "heads": perception.heads}
    train("perception", folder, modules, step_loss, schedule, runtime, evaluate)


def _bits(labels: NDArray[np.uint32], classes: int) -> Tensor:
    """(batch, rows, columns) masks → (batch, tokens, 4·classes) in merge-block order."""
    batch, rows, columns = labels.shape
    blocks = labels.reshape(batch, rows // 2, 2, columns // 2, 2).transpose(0, 1, 3, 2, 4)
    bits = (blocks.reshape(batch, -1, 4)[..., None] >> np.arange(classes, dtype=np.uint32)) & 1
    return torch.from_numpy(bits.reshape(batch, bits.shape[1], -1).astype(np.float32))


def _relight(patches: Tensor, noise: torch.Generator) -> Tensor:
    """Contrast, brightness and tint of each picture varied; (batch, patches, 3·patch²)."""
    batch, count, size = patches.shape

    def drawn(width: float, channels: int = 1) -> Tensor:
        value = width * (2 * torch.rand(batch, 1, channels, 1, generator=noise) - 1)
        return value.to(patches.device)

    gain = torch.exp(drawn(0.2) + drawn(0.05, 3))
    channels = patches.view(batch, count, 3, -1)
    return ((channels + 1) * gain - 1 + drawn(0.08)).view(batch, count, size)
