"""Labels of a whole picture as losses and scores: yes-or-no ones, and quantities.

Who learns them is no matter here: the vision tower's heads do, and the text stack's state behind
the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rsd_planner.training.data import DriveSet
from rsd_planner.training.sampling import step_batches

__all__ = ["LabelTargets", "dense_weights", "label_scores", "loss_of_labels"]

MAX_POSITIVE_WEIGHT = 20.0
_LOOKED_AT = 8000  # frames, for shares and means


@dataclass(frozen=True)
class LabelTargets:
    """How labels become losses; one entry a label."""

    binary: Tensor  # (labels,) bool: 0/1 labels; the others are regressed
    binary_weight: Tensor  # (labels,) of positives
    mean: Tensor  # (labels,) of the regressed ones
    scale: Tensor  # (labels,) their standard deviation

    @classmethod
    def of(cls, data: DriveSet, weights: NDArray[np.float64], device: torch.device) -> LabelTargets:
        """For frames that are drawn by `weights` (frames,)."""
        columns = [c[~np.isnan(c)] for c in data.labels[_drawn(weights)].T]
        binary = [label.kind == "binary" for label in data.label_table]
        mean = np.array([c.mean() if len(c) else 0.5 for c in columns])
        std = np.array([c.std() if len(c) else 1.0 for c in columns])
        return cls(
            binary=torch.tensor(binary, device=device),
            binary_weight=_positive_weight(mean.clip(0, 1)).to(device),
            mean=torch.tensor(mean, dtype=torch.float32, device=device),
            scale=torch.tensor(np.maximum(std, 1e-2), dtype=torch.float32, device=device),
        )


def dense_weights(data: DriveSet, weights: NDArray[np.float64], device: torch.device) -> Tensor:
    """(classes,) weights of patches that hold a class, for frames that are drawn by `weights`."""
    bits = data.patch_bits[_drawn(weights)]
    share = np.array([((bits >> c) & 1).mean() for c in range(len(data.classes))])
    return _positive_weight(share).to(device)


def _drawn(weights: NDArray[np.float64]) -> NDArray[np.int64]:
    return step_batches(len(weights), min(len(weights), _LOOKED_AT), 0, weights)(0)


def _positive_weight(share: NDArray[np.float64]) -> Tensor:
    ratio = (1 - share) / np.maximum(share, 1e-6)
    return torch.as_tensor(np.sqrt(ratio).clip(0.5, MAX_POSITIVE_WEIGHT), dtype=torch.float32)


def loss_of_labels(predicted: Tensor, truth: Tensor, targets: LabelTargets) -> Tensor:
    """Mean loss of predictions (batch, labels) where the truth is known; NaN where it is not."""
    known = ~truth.isnan()
    truth = truth.nan_to_num(0.0)
    binary = functional.binary_cross_entropy_with_logits(
        predicted, truth.clamp(0, 1), pos_weight=targets.binary_weight, reduction="none"
    )
    wanted = (truth - targets.mean) / targets.scale
    regressed = functional.smooth_l1_loss(predicted, wanted, reduction="none")
    losses = torch.where(targets.binary, binary, regressed)
    return (losses * known).sum() / known.sum().clamp(min=1)


def label_scores(
    predicted: Tensor, truth: Tensor, data: DriveSet, targets: LabelTargets
) -> dict[str, float]:
    """Balanced accuracy of each yes-or-no label, mean error of each quantity."""
    scores = {}
    for index, label in enumerate(data.label_table):
        known = ~truth[:, index].isnan()
        ours, theirs = predicted[known, index], truth[known, index]
        if len(theirs) == 0:
            continue
        if label.kind == "binary":
            hits, there = (ours > 0) == (theirs > 0.5), theirs > 0.5
            if there.any() and not there.all():  # else any constant were right
                sides = hits[there].float().mean() + hits[~there].float().mean()
                scores[label.name] = float(sides / 2)
        else:
            value = ours * float(targets.scale[index]) + float(targets.mean[index])
            scores[label.name] = float((value - theirs).abs().mean())
    return scores
