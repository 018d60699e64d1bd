"""Stage 1: the vision tower learns what the world's truth says is in a picture.

Each merged token predicts the classes under its four patches, and attention-pooled heads
predict the labels of the whole picture. The heads are thrown away afterwards. End to end
on the text loss alone nothing is learned in reasonable time, hence this stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from rsd_planner.models.vision_batch import BatchedTower
from rsd_planner.models.vla import Vla
from rsd_planner.training.data import DriveSet
from rsd_planner.training.loop import Schedule, step_batches, train

__all__ = ["PerceptionHeads", "train_perception"]

MAX_POSITIVE_WEIGHT = 20.0
DENSE_WEIGHT = 3.0


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


@dataclass(frozen=True)
class _Targets:
    """Bits by merged token and labels by picture, with the weights of their positives."""

    dense_weight: Tensor
    binary: Tensor  # (labels,) bool: 0/1 labels; the others are regressed
    binary_weight: Tensor
    scale: Tensor  # (labels,) standard deviation of the regressed ones


def train_perception(
    vla: Vla, data: DriveSet, held_out: DriveSet, folder: Path, schedule: Schedule, batch: int = 64
) -> None:
    """Train `vla`'s vision tower on a set of drives; resumable."""
    visual = vla.vlm.model.visual
    height, width = data.picture_size
    heads = PerceptionHeads(vla.text.config.hidden_size, len(data.classes), len(data.label_table))
    tower = BatchedTower(visual, height, width)
    targets = _targets(data)
    step_indices = step_batches(len(data), batch, seed=1)

    def step_loss(step: int) -> tuple[Tensor, Mapping[str, float]]:
        return _loss(tower, heads, data, step_indices(step), targets)

    def evaluate() -> Mapping[str, float]:
        return _evaluate(tower, heads, held_out, targets)

    train("perception", folder, {"visual": visual, "heads": heads}, step_loss, schedule, evaluate)


def _targets(data: DriveSet) -> _Targets:
    count = len(data.classes)
    sample = data.patch_bits[:: max(1, len(data) // 4000)]
    share = np.array([((sample >> c) & 1).mean() for c in range(count)])
    labels = data.labels
    known = ~np.isnan(labels)
    columns = [c[k] for c, k in zip(labels.T, known.T, strict=True)]
    binary = np.array([label.kind == "binary" for label in data.label_table])
    mean = np.array([column.mean() if len(column) else 0.5 for column in columns])
    std = np.array([column.std() if len(column) else 1.0 for column in columns])
    return _Targets(
        dense_weight=_positive_weight(share),
        binary=torch.as_tensor(binary),
        binary_weight=_positive_weight(mean.clip(0, 1)),
        scale=torch.as_tensor(np.maximum(std, 1e-3), dtype=torch.float32),
    )


def _positive_weight(share: np.ndarray) -> Tensor:
    ratio = (1 - share) / np.maximum(share, 1e-6)
    return torch.as_tensor(np.sqrt(ratio).clip(0.5, MAX_POSITIVE_WEIGHT), dtype=torch.float32)


def _bits(labels: np.ndarray, classes: int) -> Tensor:
    """(batch, rows, columns) masks → (batch, tokens, 4·classes) in merge-block order."""
    batch, rows, columns = labels.shape
    blocks = labels.reshape(batch, rows // 2, 2, columns // 2, 2).transpose(0, 1, 3, 2, 4)
    bits = (blocks.reshape(batch, -1, 4)[..., None] >> np.arange(classes, dtype=np.uint32)) & 1
    return torch.from_numpy(bits.reshape(batch, bits.shape[1], -1).astype(np.float32))


def _loss(
    tower: BatchedTower,
    heads: PerceptionHeads,
    data: DriveSet,
    indices: np.ndarray,
    targets: _Targets,
) -> tuple[Tensor, Mapping[str, float]]:
    with torch.autocast("cpu", torch.bfloat16):
        _, tokens, _ = tower(torch.from_numpy(data.pictures(indices)))
    dense, labels = heads(tokens.float())
    classes = len(data.classes)
    dense_loss = functional.binary_cross_entropy_with_logits(
        dense, _bits(data.patch_bits[indices], classes), pos_weight=targets.dense_weight.repeat(4)
    )
    label_loss = _label_loss(labels, torch.from_numpy(data.labels[indices]), targets)
    loss = DENSE_WEIGHT * dense_loss + label_loss
    return loss, {"dense": float(dense_loss.detach()), "labels": float(label_loss.detach())}


def _label_loss(predicted: Tensor, truth: Tensor, targets: _Targets) -> Tensor:
    known = ~truth.isnan()
    truth = truth.nan_to_num(0.0)
    binary = functional.binary_cross_entropy_with_logits(
        predicted, truth.clamp(0, 1), pos_weight=targets.binary_weight, reduction="none"
    )
    regressed = functional.smooth_l1_loss(predicted, truth / targets.scale, reduction="none")
    losses = torch.where(targets.binary, binary, regressed)
    return (losses * known).sum() / known.sum().clamp(min=1)


@torch.inference_mode()
def _evaluate(
    tower: BatchedTower, heads: PerceptionHeads, data: DriveSet, targets: _Targets
) -> Mapping[str, float]:
    """Balanced accuracy of the binary labels and mean error of the others."""
    rows = np.arange(0, len(data), max(1, len(data) // 2000))
    outputs = []
    for start in range(0, len(rows), 64):
        images = torch.from_numpy(data.pictures(rows[start : start + 64]))
        outputs.append(heads(tower(images)[1])[1])
    predicted, truth = torch.cat(outputs), torch.from_numpy(data.labels[rows])
    scores = {}
    for index, name in enumerate(label.name for label in data.label_table):
        known = ~truth[:, index].isnan()
        ours, theirs = predicted[known, index], truth[known, index]
        if len(theirs) == 0:
            continue
        if targets.binary[index]:
            hits = (ours > 0) == (theirs > 0.5)
            sides = [hits[theirs > 0.5], hits[theirs <= 0.5]]
            scores[name] = float(np.mean([float(s.float().mean()) for s in sides if len(s)]))
        else:
            scores[name] = float((ours * targets.scale[index] - theirs).abs().mean())
    return scores
