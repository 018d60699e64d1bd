"""KV caches with the one method that Hugging Face's attention calls: `update`.

`KVCache` holds one sequence in buffers allocated once; dropping rejected tokens is setting
a length. `PrefixView` lets the trajectory head read a cache without writing to it.
Neither knows about positions: rotary embeddings are applied before keys arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["KVCache", "PrefixView"]


class KVCache:
    """Keys and values of one sequence, layer by layer, in preallocated buffers."""

    def __init__(
        self,
        layers: int,
        kv_heads: int,
        head_dim: int,
        capacity: int,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        shape = (layers, 1, kv_heads, capacity, head_dim)
        self._keys = torch.empty(shape, dtype=dtype, device=device)
        self._values = torch.empty(shape, dtype=dtype, device=device)
        self.length = 0

    @property
    def capacity(self) -> int:
        """Most tokens that fit."""
        return int(self._keys.shape[3])

    def clear(self) -> None:
        """Forget the sequence; the buffers stay."""
        self.length = 0

    def reserve(self, length: int) -> None:
        """Make room for `length` tokens, keeping what is stored."""
        if length <= self.capacity:
            return
        grown = max(length, 2 * self.capacity)
        for name in ("_keys", "_values"):
            old = getattr(self, name)
            new = old.new_empty(*old.shape[:3], grown, old.shape[4])
            new[..., : self.length, :] = old[..., : self.length, :]
            setattr(self, name, new)

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Append (1, heads, new, head_dim) to a layer behind `length`; returns all of it.

        `length` itself moves by `advance`, once for all layers.
        """
        end = self.length + keys.shape[2]
        self._keys[layer, :, :, self.length : end] = keys
        self._values[layer, :, :, self.length : end] = values
        return self._keys[layer, :, :, :end], self._values[layer, :, :, :end]

    def advance(self, count: int) -> None:
        """Count tokens that every layer has stored."""
        self.length += count

    def crop(self, length: int) -> None:
        """Keep the first `length` tokens.

        Raises:
            ValueError: fewer are stored.
        """
        if not 0 <= length <= self.length:
            raise ValueError(f"cannot crop a cache of {self.length} tokens to {length}")
        self.length = length

    def keep(self, start: int, rows: Sequence[int]) -> None:
        """Keep the first `start` tokens and, behind them, those at `start` + `rows` (ascending).

        Raises:
            ValueError: fewer are stored.
        """
        if rows and not start + rows[-1] < self.length:
            raise ValueError(f"token {start + rows[-1]} of {self.length} cannot be kept")
        first = next((i for i, row in enumerate(rows) if row != i), len(rows))
        if first < len(rows):
            chosen = torch.tensor([start + row for row in rows[first:]], device=self._keys.device)
            for stored in (self._keys, self._values):
                stored[:, :, :, start + first : start + len(rows)] = stored[:, :, :, chosen]
        self.crop(start + len(rows))

    def layer(self, index: int) -> tuple[Tensor, Tensor]:
        """Keys and values (1, heads, length, head_dim) of a layer, as views."""
        return (
            self._keys[index, :, :, : self.length],
            self._values[index, :, :, : self.length],
        )


class PrefixView:
    """A frozen prefix, repeated over a batch, in front of keys that every pass overwrites.

    The prefix is copied once for each layer, not once for each flow step.
    """

    def __init__(self, cache: KVCache, layers: int, batch: int, tail: int) -> None:
        self._prefix = cache.length
        self._pairs: list[tuple[Tensor, Tensor]] = []
        for index in range(layers):
            pair = []
            for stored in cache.layer(index):
                _, heads, length, size = stored.shape
                room = stored.new_empty(batch, heads, length + tail, size)
                room[:, :, :length] = stored
                pair.append(room)
            self._pairs.append((pair[0], pair[1]))

    def update(
        self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Prefix and new keys (batch, heads, prefix + tail, head_dim), and the values."""
        all_keys, all_values = self._pairs[layer]
        all_keys[:, :, self._prefix :] = keys
        all_values[:, :, self._prefix :] = values
        return all_keys, all_values
