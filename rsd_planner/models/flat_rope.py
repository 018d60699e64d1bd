"""Positions: the target's three axes, and the flat ones of a drafter.

M-RoPE (Qwen3-VL) gives a visual token (t, h, w) and lets text resume behind the larger
side of the picture's grid; FlatRoPE (arXiv 2606.31160) counts tokens. The difference is
these two functions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["flat_positions", "mrope_positions"]


def mrope_positions(
    is_image: NDArray[np.bool_], grids_thw: Sequence[tuple[int, int, int]], merge: int
) -> NDArray[np.int64]:
    """(3, length) positions of a prompt whose image tokens are marked.

    `grids_thw` are the pictures' grids in patches, in order; `merge` patches a side make
    one token. A text token j after the prompt stands at `positions.max() + 1 + j`.

    Raises:
        ValueError: the marked tokens do not add up to the grids.
    """
    positions = np.zeros((3, is_image.shape[0]), dtype=np.int64)
    grids = iter(grids_thw)
    index, now = 0, 0
    while index < is_image.shape[0]:
        if not is_image[index]:
            positions[:, index] = now
            index, now = index + 1, now + 1
            continue
        grid = next(grids, None)
        if grid is None:
            raise ValueError("more image tokens than pictures in the prompt")
        _, rows, columns = (grid[0], grid[1] // merge, grid[2] // merge)
        end = index + grid[0] * rows * columns
        if not is_image[index:end].all() or end > is_image.shape[0]:
            raise ValueError(f"a picture of {end - index} tokens does not fit the prompt")
        axes = np.meshgrid(np.arange(grid[0]), np.arange(rows), np.arange(columns), indexing="ij")
        positions[:, index:end] = np.stack([axis.reshape(-1) for axis in axes]) + now
        index, now = end, now + max(rows, columns)
    if next(grids, None) is not None:
        raise ValueError("more pictures than image tokens in the prompt")
    return positions


def flat_positions(length: int, start: int = 0) -> NDArray[np.int64]:
    """(3, length) positions that count tokens alike on all axes (FlatRoPE)."""
    return np.broadcast_to(np.arange(start, start + length), (3, length)).copy()
