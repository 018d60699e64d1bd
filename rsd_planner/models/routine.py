"""The routine reasoner's network: a small transformer over the car's motion and text.

It reads the last tick's text, how long each token of it has stood, and the car's motion, and
writes the next block of the new text in one forward. It never sees a picture. Positions count
tokens (one-dimensional rotary embedding, FlatRoPE of arXiv 2606.31160); the new text starts
where the old one does, so that equal places have equal angles.

Every place of the block asks for itself. A light head, conditioned on the token in front (the
idea of JetSpec, arXiv 2606.18394), makes the places agree: it is applied to the whole block again
until the tokens no longer change, which is the chain that token by token would give. The head
mixes a distribution of its own with copying from the old text (pointer network, Vinyals 2015).

Tokens here are places in the drafter's own vocabulary: those that the target was seen to write.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from rsd_planner.models.pointer import NOTHING, RESERVED

__all__ = [
    "Old",
    "RoutineBatch",
    "RoutineConfig",
    "RoutineNet",
    "end_of_draft",
    "since_features",
    "told_row",
]

_SINCE = 4  # features of how long a token stands
_EPSILON = 1e-8
_RMS_EPS = 1e-12
_NEAR = (0.5, 0.1)  # what makes seconds and metres about 1
_MASKED = -1e9


@dataclass(frozen=True)
class RoutineConfig:
    """Everything that a drafter's file says beside its weights."""

    vocabulary: tuple[int, ...]  # the target's ids of the tokens from `RESERVED` on
    target_vocab_size: int
    end_token: int  # the target's id of a text's last token
    motion_width: int  # features of the car's motion
    history_steps: int
    hidden: int = 128
    layers: int = 3
    heads: int = 4
    intermediate: int = 384
    motion_tokens: int = 4
    block: int = 48  # most tokens of a draft
    longest: int = 64  # most tokens of a text
    rounds: int = 4  # most passes of the head over a block
    least_chance: float = 0.06  # a draft ends where it is accepted so far with less

    @property
    def size(self) -> int:
        """Places in the drafter's vocabulary."""
        return len(self.vocabulary) + RESERVED


def end_of_draft(choices: Iterable[tuple[int, float]], end: int, least_chance: float) -> int | None:
    """How many tokens a draft has, if these first ones say so.

    `choices` are tokens, each with its chance given those before it. A draft ends with the end
    token, before one that cannot be written, and where it is right so far with less than
    `least_chance`.
    """
    so_far = 1.0
    for place, (token, chance) in enumerate(choices):
        so_far *= chance
        if so_far < least_chance or token <= NOTHING:
            return place
        if token == end:
            return place + 1
    return None


@dataclass
class Old:
    """The last tick's texts, padded behind with NOTHING."""

    tokens: Tensor  # (batch, old)
    since: Tensor  # (batch, old, 2) seconds and metres since a token came to its place
    valid: Tensor  # (batch, old)


@dataclass
class RoutineBatch:
    """Texts to learn from. The first `committed` tokens of each are given."""

    motion: Tensor  # (batch, motion_width)
    old: Old
    new: Tensor  # (batch, new) padded behind with NOTHING
    committed: Tensor  # (batch,)
    shift: Tensor  # (batch,) new place + shift = place in the old text, behind the committed


class RoutineNet(nn.Module):
    """See the module. `loss` trains; at work stands `routine_forward.RoutineForward`."""

    def __init__(self, config: RoutineConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.config = config
        self.tokens = nn.Embedding(config.size, hidden)
        self.before = nn.Embedding(config.size, hidden)  # of the token in front, in the head
        self.kinds = nn.Embedding(3, hidden)  # old, committed, asked
        self.since = nn.Linear(_SINCE, hidden)
        self.motion = nn.Sequential(
            nn.Linear(config.motion_width, 2 * hidden),
            nn.SiLU(),
            nn.Linear(2 * hidden, config.motion_tokens * hidden),
        )
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(hidden, eps=_RMS_EPS)
        self.mix = _Mlp(hidden, 2 * hidden)
        self.last_norm = nn.RMSNorm(hidden, eps=_RMS_EPS)
        self.gate = nn.Linear(hidden, 1)
        self.ask = nn.Linear(hidden, hidden, bias=False)
        self.answer = nn.Linear(hidden, hidden, bias=False)
        self.cos: Tensor
        self.sin: Tensor
        self.writable: Tensor  # (vocabulary,) added to the logits
        cos, sin = _rotary(config.motion_tokens + config.longest, hidden // config.heads)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        writable = torch.zeros(config.size)
        writable[:RESERVED] = _MASKED
        self.register_buffer("writable", writable, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        scale = self.config.hidden**-0.5
        for table in (self.tokens, self.before, self.kinds):
            nn.init.normal_(table.weight, std=scale)
        nn.init.constant_(self.gate.bias, 1.0)  # at first it rather copies

    def _told_rows(self, old: Old) -> Tensor:
        """(batch, old + 1, hidden): the old tokens, and behind them a place without one."""
        tokens = functional.pad(old.tokens, (0, 1), value=NOTHING)
        since = since_features(functional.pad(old.since, (0, 0, 0, 1)))
        return self.tokens(tokens) + self.since(since)

    def _places(self, which: Tensor) -> tuple[Tensor, Tensor]:
        return self.cos[which], self.sin[which]

    # The head

    def keys(self, old: Old, states: Tensor) -> Tensor:
        """Where to copy from (batch, old, hidden), by the old tokens' states.

        A place is known by the token in front of it too: one looks for what followed there.
        """
        front = functional.pad(old.tokens[:, :-1], (1, 0), value=NOTHING)
        places = torch.arange(old.tokens.shape[1], device=front.device)
        return self._turned(self.answer(states + self.before(front)), places)

    def chances(self, states: Tensor, front: Tensor, keys: Tensor, old: Old) -> Tensor:
        """Probabilities (batch, new, vocabulary) of the tokens of the new text.

        `states` (batch, new, hidden) are the rows' last, `front` (batch, new) the tokens in
        front; `keys` are of `keys`.
        """
        mixed = states + self.before(front)
        mixed = self.last_norm(mixed + self.mix(mixed))
        own = functional.linear(mixed, self.tokens.weight) + self.writable
        own = torch.softmax(own.float(), dim=-1)
        asked = self._turned(self.ask(mixed), torch.arange(front.shape[1], device=front.device))
        scores = asked @ keys.transpose(1, 2) * self.config.hidden**-0.5  # (batch, new, old)
        scores = scores.masked_fill(~old.valid[:, None], _MASKED)
        copied = torch.sigmoid(self.gate(mixed).float()) * old.valid.any(dim=1)[:, None, None]
        copies = functional.one_hot(old.tokens, self.config.size).to(scores.dtype)
        from_old = torch.softmax(scores.float(), dim=-1) @ copies
        return torch.lerp(own, from_old, copied)

    def _turned(self, rows: Tensor, places: Tensor) -> Tensor:
        """Rotary positions of a text's places on rows (batch, rows, hidden), head by head."""
        heads = rows.unflatten(-1, (self.config.heads, -1))
        return _turn(heads, *self._places(self.config.motion_tokens + places)).flatten(-2)

    # Training

    def loss(self, batch: RoutineBatch, hide: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Cross-entropy of the tokens behind the committed ones, at most a block.

        `hide` (batch, new) marks places whose front token is not told. Returns the mean loss
        and the probabilities (batch, new, vocabulary).
        """
        config, old, new = self.config, batch.old, batch.new
        place = torch.arange(new.shape[1], device=new.device)
        given = place < batch.committed[:, None]  # (batch, new)
        told = self._told_rows(old)
        asked = _at(told, place + batch.shift[:, None]) + self.kinds.weight[2]
        rows = torch.where(given[..., None], self.tokens(new) + self.kinds.weight[1], asked)
        moved = self.motion(batch.motion).view(len(new), config.motion_tokens, -1)
        rows = torch.cat([moved, told[:, :-1] + self.kinds.weight[0], rows], dim=1)
        split = config.motion_tokens + old.tokens.shape[1]
        rotary = self._places(
            torch.cat([torch.arange(split, device=new.device), config.motion_tokens + place])
        )
        mask = self._mask(old, given)
        for layer in self.layers:
            rows = layer(rows, rotary, mask)
        rows = self.norm(rows)
        front = functional.pad(new[:, :-1], (1, 0), value=NOTHING)
        if hide is not None:
            front = front.masked_fill(hide & (place > batch.committed[:, None]), NOTHING)
        keys = self.keys(old, rows[:, config.motion_tokens : split])
        chances = self.chances(rows[:, split:], front, keys, old)
        counted = ~given & (new != NOTHING)
        counted &= place < batch.committed[:, None] + config.block
        right = chances.gather(-1, new[..., None]).squeeze(-1)
        losses = -torch.log(right + _EPSILON) * counted
        return losses.sum() / counted.sum().clamp(min=1), chances

    def _mask(self, old: Old, given: Tensor) -> Tensor:
        """Who sees whom (batch, 1, rows, rows): all the memory, new rows the committed ones too."""
        told = given.new_ones(len(given), self.config.motion_tokens)
        memory = torch.cat([told, old.valid], dim=1)
        from_memory = torch.cat([memory, torch.zeros_like(given)], dim=1)
        from_new = torch.cat([memory, given], dim=1)
        return torch.cat(
            [
                from_memory[:, None].expand(-1, memory.shape[1], -1),
                from_new[:, None].expand(-1, given.shape[1], -1),
            ],
            dim=1,
        )[:, None]


def since_features(since: Tensor) -> Tensor:
    """(..., 4) of seconds and metres (..., 2)."""
    near = since.clamp(max=10.0) * since.new_tensor(_NEAR)
    return torch.cat([near, torch.log1p(since)], dim=-1)


def told_row(places: Tensor, nothing: int) -> Tensor:
    """Rows of the old text at places; outside of it the row `nothing`, behind its last one."""
    return torch.where((places >= 0) & (places < nothing), places, nothing)


def _at(told: Tensor, places: Tensor) -> Tensor:
    """Rows of `told_rows` at places (batch, asked); outside of the text its last row."""
    index = told_row(places, told.shape[1] - 1)
    return told.gather(1, index[..., None].expand(-1, -1, told.shape[2]))


class _Mlp(nn.Module):
    """Norm, widen, narrow; the caller adds it."""

    def __init__(self, hidden: int, intermediate: int) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(hidden, eps=_RMS_EPS)
        self.widen = nn.Linear(hidden, intermediate)
        self.narrow = nn.Linear(intermediate, hidden)

    def forward(self, rows: Tensor) -> Tensor:
        out: Tensor = self.narrow(functional.silu(self.widen(self.norm(rows))))
        return out


class _Layer(nn.Module):
    """Attention to the rows that can be seen, then an MLP."""

    def __init__(self, config: RoutineConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.heads = config.heads
        self.norm = nn.RMSNorm(hidden, eps=_RMS_EPS)
        self.project = nn.Linear(hidden, 3 * hidden, bias=False)
        self.out = nn.Linear(hidden, hidden, bias=False)
        self.mlp = _Mlp(hidden, config.intermediate)

    def forward(self, rows: Tensor, rotary: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
        parts = self.project(self.norm(rows)).unflatten(-1, (3, self.heads, -1))
        queries = _turn(parts[:, :, 0], *rotary).transpose(1, 2)  # (batch, heads, rows, head)
        keys = _turn(parts[:, :, 1], *rotary).transpose(1, 2)
        values = parts[:, :, 2].transpose(1, 2)
        seen = functional.scaled_dot_product_attention(queries, keys, values, mask)
        rows = rows + self.out(seen.transpose(1, 2).flatten(-2))
        out: Tensor = rows + self.mlp(rows)
        return out


def _rotary(places: int, width: int) -> tuple[Tensor, Tensor]:
    """cos and sin (places, 1, width / 2)."""
    rates = 1e4 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = torch.arange(places, dtype=torch.float64)[:, None, None] * rates
    return angles.cos().float(), angles.sin().float()


def _turn(rows: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding on rows (batch, rows, heads, head)."""
    a, b = rows.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)
