"""Starts a new model from the weights of an earlier one with another vocabulary.

Tensors of the same name and shape are taken over; rows of the embedding go by their token's
text, since ids differ. What has no counterpart keeps its fresh weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from rsd_planner.models.checkpoint import load_checkpoint
from rsd_planner.models.tokenizer import TextCodec
from rsd_planner.models.vla import Vla

__all__ = ["TakenOver", "start_from"]

_EMBEDDING = "vlm.model.language_model.embed_tokens.weight"
_TIED = "vlm.lm_head.weight"


@dataclass(frozen=True)
class TakenOver:
    """What a warm start found."""

    tensors: int
    fresh: tuple[str, ...]  # names of tensors without a counterpart
    tokens: int  # rows of the embedding taken over


@torch.no_grad()
def start_from(vla: Vla, codec: TextCodec, folder: Path) -> TakenOver:
    """Puts an earlier checkpoint's weights into a model wherever they fit.

    Raises CheckpointError where the folder holds no checkpoint.
    """
    earlier = load_checkpoint(folder)
    theirs = earlier.vla.state_dict()
    taken, fresh = 0, []
    for name, ours in vla.state_dict().items():
        if name in (_EMBEDDING, _TIED) or name.startswith("action_space."):
            continue  # the action space's statistics are those of the new data
        if name in theirs and theirs[name].shape == ours.shape:
            ours.copy_(theirs[name])
            taken += 1
        else:
            fresh.append(name)
    ours, rows = vla.text.embed_tokens.weight, earlier.vla.text.embed_tokens.weight
    tokens = 0
    if ours.shape[1] == rows.shape[1]:
        known = earlier.codec.tokenizer.get_vocab()
        for token, index in codec.tokenizer.get_vocab().items():
            if token in known:
                ours[index] = rows[known[token]]
                tokens += 1
    return TakenOver(taken, tuple(fresh), tokens)
