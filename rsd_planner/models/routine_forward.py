"""The routine reasoner's network for one text at a time, arranged so that a draft costs little.

Says what `RoutineNet.loss` learned, without batches, masks and padding. A draft competes with a
forward of the target that takes milliseconds, and calls of small operations cost more here than
their arithmetic: so gains are folded into the matrices behind them, and pairs that a rotary
position turns lie beside each other, as complex numbers do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from rsd_planner.models.pointer import NOTHING
from rsd_planner.models.routine import RoutineNet, since_features, told_row

__all__ = ["Memory", "RoutineForward"]

Pair = tuple[Tensor, Tensor]  # keys and values (heads, rows, width of a head)


@dataclass
class Memory:
    """What a tick has told: the rows that every draft of it sees."""

    old: Tensor  # (old,) tokens
    told: Tensor  # (old + 1, hidden): the old tokens, and behind them a place without one
    rows: Tensor  # (memory, hidden) before the first layer
    copies: Tensor  # (old, vocabulary) the old tokens as one-hot rows
    past: tuple[Pair, ...] = ()  # of each layer, once the rows have gone through
    keys: Tensor | None = None  # (old, hidden) where to copy from, likewise


@dataclass(frozen=True)
class _Layer:
    project: Tensor  # (hidden, 3 · hidden)
    out: Tensor
    widen: Tensor
    widen_bias: Tensor
    narrow: Tensor
    narrow_bias: Tensor


class RoutineForward:
    """A trained network at work. All methods want `torch.inference_mode`."""

    def __init__(self, net: RoutineNet, device: torch.device) -> None:
        net = net.to(device).eval()
        config = net.config
        self._motion_tokens, self._heads = config.motion_tokens, config.heads
        self._width = config.hidden // config.heads
        self._net = net
        weights = {name: value.detach() for name, value in net.state_dict().items()}
        root = config.hidden**0.5

        def gained(name: str, norm: str) -> Tensor:
            """A matrix (in, out) with the gains of the norm in front of it."""
            return (weights[name] * weights[norm] * root).T.contiguous()

        paired = torch.arange(config.hidden, device=device).view(config.heads, 2, -1)
        paired = paired.transpose(1, 2).reshape(-1)  # the places of a head's turned pairs
        thirds = torch.cat(
            [
                paired,
                config.hidden + paired,
                torch.arange(2 * config.hidden, 3 * config.hidden, device=device),
            ]
        )
        self._layers = tuple(
            _Layer(
                gained(f"layers.{i}.project.weight", f"layers.{i}.norm.weight")[:, thirds],
                weights[f"layers.{i}.out.weight"].T.contiguous(),
                gained(f"layers.{i}.mlp.widen.weight", f"layers.{i}.mlp.norm.weight"),
                weights[f"layers.{i}.mlp.widen.bias"],
                weights[f"layers.{i}.mlp.narrow.weight"].T.contiguous(),
                weights[f"layers.{i}.mlp.narrow.bias"],
            )
            for i in range(config.layers)
        )
        self._gain = weights["norm.weight"] * root
        self._tokens, self._before = weights["tokens.weight"], weights["before.weight"]
        self._kinds = weights["kinds.weight"]
        self._told = self._tokens + weights["since.bias"]
        self._since = weights["since.weight"].T.contiguous()
        self._answer = weights["answer.weight"].T[:, paired].contiguous()
        self._widen = gained("mix.widen.weight", "mix.norm.weight")
        self._widen_bias = weights["mix.widen.bias"]
        self._narrow = weights["mix.narrow.weight"].T.contiguous()
        self._narrow_bias = weights["mix.narrow.bias"]
        # The head asks three things of the same rows at once.
        asking = gained("ask.weight", "last_norm.weight")[:, paired] * config.hidden**-0.5
        own = gained("tokens.weight", "last_norm.weight")
        gate = gained("gate.weight", "last_norm.weight")
        self._asking = torch.cat([asking, gate, own], dim=1).contiguous()
        none = torch.zeros(config.hidden, device=device)
        writable = net.writable.clone()
        self._asking_bias = torch.cat([none, weights["gate.bias"], writable])
        self._turns = torch.complex(net.cos, net.sin)[:, 0]  # (places, half a head)

    def read(self, motion: Tensor, old: Tensor, since: Tensor) -> Memory:
        """A tick starts: motion (motion_width,), the old tokens (old,), their ages (old, 2)."""
        near = since_features(functional.pad(since, (0, 0, 0, 1)))
        tokens = functional.pad(old, (0, 1), value=NOTHING)
        told = torch.addmm(self._told[tokens], near, self._since)
        moved = self._net.motion(motion).view(self._motion_tokens, -1)
        rows = torch.cat([moved, told[:-1] + self._kinds[0]])
        return Memory(old, told, rows, functional.one_hot(old, len(self._tokens)).to(told.dtype))

    def states(self, memory: Memory, given: Tensor, shift: int, asked: int) -> Tensor:
        """Last rows (asked, hidden) of the places behind the given tokens (given,).

        The first call of a tick takes the memory through the layers; where nothing is given,
        both go at once.
        """
        start, told = len(given), len(memory.rows)
        first = self._motion_tokens
        places = torch.arange(start + shift, start + shift + asked, device=memory.old.device)
        rows = memory.told[told_row(places, len(memory.old))] + self._kinds[2]
        ahead = slice(first, first + start + asked)
        if not memory.past:
            together = [] if start else [rows]
            turns = [self._turns[:told]] + ([self._turns[ahead]] if together else [])
            found, memory.past = self._run(
                torch.cat([memory.rows, *together]), torch.cat(turns), told, None
            )
            memory.keys = self._keys(memory.old, found[first:told])
            if together:
                return found[told:]
        if start:
            rows = torch.cat([self._tokens[given] + self._kinds[1], rows])
        found, _ = self._run(rows, self._turns[ahead], start, memory.past)
        return found[start:]

    def chances(self, memory: Memory, states: Tensor, before: Tensor, places: Tensor) -> Tensor:
        """Probabilities (asked, vocabulary); `before` (asked,) are the tokens in front.

        `places` (asked,) count from the new text's start.
        """
        assert memory.keys is not None, "states come first"
        hidden = states.shape[1]
        rows = states + self._before[before]
        wide = functional.silu(torch.addmm(self._widen_bias, _normed(rows), self._widen))
        rows = _normed(torch.addmm(rows + self._narrow_bias, wide, self._narrow))
        asked = torch.addmm(self._asking_bias, rows, self._asking)
        own = torch.softmax(asked[:, hidden + 1 :], dim=-1)
        if not len(memory.old):
            return own
        turned = self._turned(asked[:, :hidden], self._turns[self._motion_tokens + places])
        looked = torch.softmax(turned @ memory.keys.T, dim=-1) @ memory.copies
        return torch.lerp(own, looked, torch.sigmoid(asked[:, hidden : hidden + 1]))

    def _keys(self, old: Tensor, states: Tensor) -> Tensor:
        front = functional.pad(old[:-1], (1, 0), value=NOTHING)[: len(old)]
        first = self._motion_tokens
        turns = self._turns[first : first + len(old)]
        return self._turned((states + self._before[front]) @ self._answer, turns)

    def _turned(self, rows: Tensor, turns: Tensor) -> Tensor:
        """Rotary positions on rows (rows, hidden), whose pairs lie beside each other."""
        pairs = torch.view_as_complex(rows.contiguous().view(-1, self._heads, self._width // 2, 2))
        return torch.view_as_real(pairs * turns[:, None]).flatten(1)

    def _run(
        self, rows: Tensor, turns: Tensor, given: int, past: Sequence[Pair] | None
    ) -> tuple[Tensor, tuple[Pair, ...]]:
        """All layers; the first `given` rows can be seen, and `past`.

        Returns the last rows and what the given ones add to the past.
        """
        turns = turns[:, None, None]
        found = []
        for index, layer in enumerate(self._layers):
            parts = (_normed(rows) @ layer.project).view(-1, 3, self._heads, self._width)
            pairs = torch.view_as_complex(parts[:, :2].unflatten(-1, (self._width // 2, 2)))
            turned = torch.view_as_real(pairs * turns).flatten(-2)  # (rows, 2, heads, width)
            keys = turned[:given, 1].transpose(0, 1)
            values = parts[:given, 2].transpose(0, 1)
            found.append((keys, values))
            if past is not None:
                keys = torch.cat([past[index][0], keys], dim=1)
                values = torch.cat([past[index][1], values], dim=1)
            seen = functional.scaled_dot_product_attention(
                turned[:, 0].transpose(0, 1)[None], keys[None], values[None]
            )
            rows = torch.addmm(rows, seen[0].transpose(0, 1).flatten(1), layer.out)
            wide = functional.silu(torch.addmm(layer.widen_bias, _normed(rows), layer.widen))
            rows = torch.addmm(rows + layer.narrow_bias, wide, layer.narrow)
        return _normed(rows) * self._gain, tuple(found)


def _normed(rows: Tensor) -> Tensor:
    """Rows of length one; gains stand in the matrix behind."""
    return rows / torch.linalg.vector_norm(rows, dim=-1, keepdim=True)
