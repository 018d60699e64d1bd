"""Hidden states of chosen layers, for a drafter that reads what the target has understood.

Follows the KV cache token by token: what is dropped there is dropped here. Keeps references to
what a forward computes anyway, so that nothing is copied until someone reads. With no layers
chosen nothing is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["FeatureTap"]


class FeatureTap:
    """The states behind some layers of every token whose keys and values are cached."""

    def __init__(self, layers: Sequence[int]) -> None:
        """`layers` count from 0; the states are those behind the layer, not normed."""
        self.layers = tuple(layers)
        self.clear()

    def __len__(self) -> int:
        return self._length

    def clear(self) -> None:
        """A new sequence starts."""
        # One entry a forward: positions (3, new), and of each layer the states (new, hidden).
        self._places: list[NDArray[np.int64]] = []
        self._states: list[list[Tensor]] = []
        self._length = 0

    def begin(self, positions: NDArray[np.int64]) -> None:
        """A forward over new tokens at rotary positions (3, new) starts."""
        self._places.append(positions)
        self._states.append([])
        self._length += positions.shape[1]

    def note(self, layer: int, hidden: Tensor) -> None:
        """A layer's states (1, new, hidden); layers come in order."""
        if layer in self.layers:
            self._states[-1].append(hidden[0])

    def keep(self, start: int, path: Sequence[int]) -> None:
        """Keep the first `start` tokens and, behind them, those at `start` + `path` (ascending).

        They begin in the newest forward, as drafts do.
        """
        new = self._places[-1].shape[1]
        front = start - (self._length - new)  # tokens of the newest forward that stay anyway
        chain = list(path) == list(range(len(path)))
        rows: slice | list[int] = slice(0, front + len(path))
        if not chain:
            rows = [*range(front), *(front + node for node in path)]
        self._places[-1] = self._places[-1][:, rows]
        self._states[-1] = [states[rows] for states in self._states[-1]]
        self._length = start + len(path)

    def rows(self, start: int) -> tuple[Tensor, NDArray[np.int64]]:
        """What is known of the tokens from `start` on.

        Returns states (tokens − start, layers · hidden) and the target's rotary positions
        (3, tokens − start).
        """
        wanted, places, done = [], [], 0
        for states, at in zip(self._states, self._places, strict=True):
            skipped = max(0, start - done)
            done += at.shape[1]
            if skipped < at.shape[1]:
                wanted.append(torch.cat([layer[skipped:] for layer in states], dim=-1))
                places.append(at[:, skipped:])
        return torch.cat(wanted), np.concatenate(places, axis=1)
