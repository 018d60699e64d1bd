"""The glance: a network so small that asking it what comes next costs less than a token.

It sees the newest and an older picture as the target's vision tower has encoded them, the car's
motion and the last tick's text, and says for the end of a text what token may follow. What it knows
of the text are the last tokens in order and all others as a bag; a pointer into the last text says
what would come if nothing had changed (pointer networks, Vinyals 2015). Two layers, no attention:
so every end of a tree is a row of one small matrix, and all of them are asked at once.

It cannot write a text by itself as a replica does; it judges texts that others guess, and corrects
them where the picture, the motion or the words in front say otherwise.

Tokens here are places in the drafter's own vocabulary: those that the target was seen to write.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rsd_planner.models.drafter_files import save_drafter
from rsd_planner.models.pointer import NOTHING, RESERVED

__all__ = [
    "GlanceBatch",
    "GlanceConfig",
    "GlanceNet",
    "save_glance",
    "since_features",
]

_MASKED = -1e9
_SINCE = 4  # features of how long a token stands
_LONGEST = (30.0, 900.0)  # seconds and metres
_DROPPED = 0.3  # of what is seen, in training …
_DROPPED_STATES = 0.2  # … and of the network's states


@dataclass(frozen=True)
class GlanceConfig:
    """Everything that a drafter's file says beside its weights."""

    vocabulary: tuple[int, ...]  # the target's ids of the tokens from `RESERVED` on
    target_vocab_size: int
    end_token: int  # the target's id of a text's last token
    motion_width: int  # features of the car's motion
    history_steps: int
    pictures: int  # of a prompt
    seen: tuple[int, ...]  # which of them are looked at, the oldest of a prompt is 0
    picture_tokens: int  # of one picture
    visual_width: int  # of the target's visual tokens
    squeezed: int = 24  # what is kept of each of them
    hidden: int = 128
    context: int = 4  # tokens in front whose order is known
    longest: int = 64  # most tokens of a text

    def __post_init__(self) -> None:
        if not all(0 <= index < self.pictures for index in self.seen):
            raise ValueError(f"of {self.pictures} pictures {self.seen} cannot be looked at")

    @property
    def size(self) -> int:
        """Places in the drafter's vocabulary."""
        return len(self.vocabulary) + RESERVED


@dataclass(frozen=True)
class GlanceBatch:
    """Texts to learn from, padded behind with NOTHING."""

    pictures: Tensor  # (batch, seen · picture tokens, visual width)
    motion: Tensor  # (batch, motion_width)
    old: Tensor  # (batch, old) the last tick's texts
    new: Tensor  # (batch, new)
    pointed: Tensor  # (batch, 2, new) what the old text has at each place, and behind it
    since: Tensor  # (batch, new, 2) seconds and metres that this stands there

    def to(self, device: torch.device) -> GlanceBatch:
        """The same on a device."""
        return GlanceBatch(*(getattr(self, one.name).to(device) for one in fields(self)))


class GlanceNet(nn.Module):
    """See the module. `logits` trains; at work stands `glance_forward.Glance`."""

    def __init__(self, config: GlanceConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.config = config
        self.norm = nn.LayerNorm(config.visual_width)
        self.squeeze = nn.Linear(config.visual_width, config.squeezed)
        seen = len(config.seen) * config.picture_tokens * config.squeezed
        self.see = nn.Linear(seen, hidden)
        self.motion = nn.Linear(config.motion_width, hidden)
        # The tokens in front by their distance, then the bags of the new and of the old text.
        self.words = nn.Embedding((config.context + 2) * config.size, hidden)
        self.pointed = nn.Embedding(2 * config.size, hidden)
        self.since = nn.Linear(_SINCE, hidden)
        self.widen = nn.Linear(hidden, 2 * hidden)
        self.narrow = nn.Linear(2 * hidden, hidden)
        self.answer = nn.Linear(hidden, config.size + 1)  # the last one speaks for the pointer
        nn.init.normal_(self.pointed.weight, std=0.5)
        nn.init.normal_(self.words.weight, std=0.5)
        with torch.no_grad():
            self.words.weight[config.context * config.size :] *= 0.2
        never = torch.zeros(config.size)
        never[:RESERVED] = _MASKED
        self.never: Tensor
        self.register_buffer("never", never, persistent=False)

    def scene(self, pictures: Tensor, motion: Tensor, old: Tensor) -> Tensor:
        """What does not depend on the new text (batch, hidden); see `GlanceBatch`."""
        seen = functional.relu(self.squeeze(self.norm(pictures))).flatten(1)
        seen = functional.dropout(seen, _DROPPED, self.training)
        return self.see(seen) + self.motion(motion) + self._bags(old, 1).sum(1)

    def logits(self, batch: GlanceBatch) -> Tensor:
        """(batch, new, vocabulary) of each token, given those in front of it."""
        size, context, length = self.config.size, self.config.context, batch.new.shape[1]
        rows = self.scene(batch.pictures, batch.motion, batch.old)[:, None].expand(-1, length, -1)
        front = functional.pad(batch.new, (context, 0), value=NOTHING)
        for back in range(context):
            start = context - 1 - back
            rows = rows + self.words(front[:, start : start + length] + back * size)
        said = self._bags(batch.new, 0).cumsum(1)
        rows = rows + functional.pad(said, (0, 0, 1, 0))[:, :length]
        rows = rows + self.pointed(batch.pointed[:, 0]) + self.pointed(batch.pointed[:, 1] + size)
        rows = rows + self.since(since_features(batch.since))
        return self.judge(rows, batch.pointed[:, 0])

    def judge(self, rows: Tensor, pointed: Tensor) -> Tensor:
        """Logits (…, vocabulary) of rows (…, hidden) whose pointers are at `pointed` (…,)."""
        rows = functional.relu(functional.dropout(rows, _DROPPED_STATES, self.training))
        rows = rows + self.narrow(functional.relu(self.widen(rows)))
        said = self.answer(functional.dropout(rows, _DROPPED_STATES, self.training))
        own, gate = said[..., :-1], said[..., -1:]
        return own.scatter_add(-1, pointed[..., None], gate) + self.never

    def _bags(self, text: Tensor, which: int) -> Tensor:
        """(batch, length, hidden) what tokens add to the bag of the new (0) or old text (1)."""
        counted = (text >= RESERVED)[..., None]
        return self.words(text + (self.config.context + which) * self.config.size) * counted


def since_features(since: Tensor) -> Tensor:
    """(…, 4) of seconds and metres (…, 2).

    What stands for longer than a training drive lasts looks like what stands as long.
    """
    since = torch.minimum(since, since.new_tensor(_LONGEST))
    near = since * since.new_tensor((0.5, 0.1))
    return torch.cat([near, torch.log1p(since)], dim=-1)


def save_glance(stem: Path, net: GlanceNet, card: Mapping[str, Any]) -> None:
    """Write the drafter's two files; `card` says how it was made."""
    save_drafter(stem, net, net.config, card)
