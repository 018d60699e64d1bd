"""Encoded pictures by camera, stamp and content, so that no frame is encoded twice.

Exact: pictures are encoded independently of each other. Holds a bounded number of frames
and forgets everything when time jumps.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from torch import Tensor

from rsd_planner.types import Frame

__all__ = ["VisionCache", "VisionFeatures"]


@dataclass(frozen=True)
class VisionFeatures:
    """What the vision tower says about one picture."""

    embeddings: Tensor  # (tokens, hidden)
    deepstack: tuple[Tensor, ...]  # one (tokens, hidden) for each early text layer
    grid_thw: tuple[int, int, int]  # in patches, before merging


class VisionCache:
    """A bounded least-recently-used map from frames to features."""

    def __init__(self, capacity: int = 64) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[tuple[str, int, bytes], VisionFeatures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    @staticmethod
    def key(frame: Frame) -> tuple[str, int, bytes]:
        """Camera, stamp and a digest of shape and pixels."""
        digest = hashlib.blake2b(frame.image.tobytes(), digest_size=16)
        digest.update(repr(frame.image.shape).encode())
        return frame.camera, frame.stamp_ns, digest.digest()

    def get(self, key: tuple[str, int, bytes]) -> VisionFeatures | None:
        """The features of a key, or None."""
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: tuple[str, int, bytes], features: VisionFeatures) -> None:
        """Store features and drop the least recently used beyond the capacity."""
        self._entries[key] = features
        self._entries.move_to_end(key)
        while len(self._entries) > self._capacity:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
